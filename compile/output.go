package compile

import (
	"fmt"
	"slices"

	"github.com/cespare/xxhash/v2"
	"google.golang.org/protobuf/proto"

	"github.com/sluicegw/sluice/model"
)

// output is a result that leaves the graph: as resources, as problems or both.
type output interface {
	resources() []*model.Resource
	problems() []model.Problem
}

func isOutput(value any) bool {
	_, ok := value.(output)
	return ok
}

// resources is the plain output of a rule.
type resources struct {
	list   []*model.Resource
	faults []model.Problem
}

func (r resources) resources() []*model.Resource { return r.list }
func (r resources) problems() []model.Problem    { return r.faults }

func (r resources) equal(o resources) bool {
	return slices.EqualFunc(r.list, o.list, equalResource) && slices.Equal(r.faults, o.faults)
}

func equalResource(a, b *model.Resource) bool {
	return a.ResourceName == b.ResourceName && a.Hash == b.Hash &&
		slices.Equal(a.Needs, b.Needs) && slices.Equal(a.Owners, b.Owners)
}

// validated is a message that checks itself against the constraints of its
// proto definition.
type validated interface {
	proto.Message
	ValidateAll() error
}

// encode returns the deterministic bytes of m, after m passed its own checks.
func encode(m validated) ([]byte, error) {
	if err := m.ValidateAll(); err != nil {
		return nil, fmt.Errorf("validate %s: %w", m.ProtoReflect().Descriptor().Name(), err)
	}
	b, err := proto.MarshalOptions{Deterministic: true}.Marshal(m)
	if err != nil {
		return nil, fmt.Errorf("encode %s: %w", m.ProtoReflect().Descriptor().Name(), err)
	}
	return b, nil
}

// part is a resource in the making.
type part struct {
	name   model.ResourceName
	msg    validated
	needs  []model.ResourceName
	owners []model.Ref
}

// resourcesOf encodes parts. A part that does not pass its checks is withheld
// and reported to its first owner: Envoy keeps what it has.
func resourcesOf(parts ...part) (out resources) {
	for _, p := range parts {
		b, err := encode(p.msg)
		if err != nil {
			out.faults = append(out.faults, refused(p.owners, p.name, err))
			continue
		}
		out.list = append(out.list, newResource(p, b))
	}
	return out
}

func newResource(p part, b []byte) *model.Resource {
	return &model.Resource{ResourceName: p.name, Bytes: b, Hash: xxhash.Sum64(b), Needs: p.needs, Owners: p.owners}
}

func refused(owners []model.Ref, name model.ResourceName, err error) model.Problem {
	p := model.Problem{
		Reason: model.ReasonInvalidValue, Severity: model.SeverityError,
		Message: fmt.Sprintf("the %s %q made of this object is invalid and is not sent: %v", name.Type.Short(), name.Name, err),
	}
	if len(owners) > 0 {
		p.Object = owners[0]
	}
	return p
}
