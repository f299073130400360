package compile

import (
	"fmt"

	"github.com/sluicegw/sluice/model"
)

// Refusal is a version of a resource that a proxy would not have although it
// passed every check here.
type Refusal struct {
	Hash   uint64
	Detail string // the proxy's words
}

// Refuse takes the refusals of proxies and returns what they change, so that
// the object at fault hurts no neighbour: a plain table is taken apart into one
// table for each host, and a host whose own table is refused, without an older
// version to fall back on, answers 500 until one of its objects changes.
func (c *Compiler) Refuse(refusals map[model.ResourceName]Refusal) Result {
	tables := map[string]model.Table{}
	for t := range c.rules.layout.All() {
		tables[t.Name()] = t
	}
	for name, r := range refusals {
		if name.Type != model.TypeRoute {
			continue
		}
		if t, plain := tables[name.Name]; plain {
			c.rules.sticky.Set(t, true)
			continue
		}
		c.rules.refused.Set(name, r)
	}
	return c.settle(nil)
}

func (r Refusal) problems(owners []model.Ref, name model.ResourceName) []model.Problem {
	out := make([]model.Problem, len(owners))
	for i, o := range owners {
		out[i] = model.Problem{
			Object: o, Reason: model.ReasonRejectedByEnvoy, Severity: model.SeverityError,
			Message: fmt.Sprintf("Envoy refuses the %s %s made of this object, so its host answers 500: %s", name.Type.Short(), name.Name, r.Detail),
		}
	}
	return out
}
