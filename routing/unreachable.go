package routing

import (
	"fmt"

	"github.com/sluicegw/sluice/model"
)

// afterCatchAll is the problem of a rule or match in a set behind one that takes
// every request.
func afterCatchAll(at, closedBy place) model.Problem {
	return unreachable(at, fmt.Sprintf("%s takes no request, because %s before it takes every one; put the rule for all requests last",
		at.field, closedBy.seenFrom(at.by)))
}

// shadowed is the problem of a route whose conditions an earlier one has too.
func shadowed(host string, e, first *entry) model.Problem {
	if e.set != first.set && e.catchAll {
		return unreachable(e.place, fmt.Sprintf("%s takes no request of host %s, because %s of the older %s takes every request left over there; "+
			"give it a condition or remove one of the two", e.field, host, first.field, first.by))
	}
	return unreachable(e.place, because(host, e, first)+" has the same conditions; remove one of the two")
}

// pathTaken is the problem of a route whose paths an earlier one takes without
// other conditions.
func pathTaken(host string, e, first *entry) model.Problem {
	path := pathOf(first.route.GetMatch())
	what := fmt.Sprintf("every path that begins with %q", path.literal)
	if path.exact {
		what = fmt.Sprintf("every request for %q", path.literal)
	}
	return unreachable(e.place, because(host, e, first)+" takes "+what+"; put the narrower rule first or remove it")
}

// because says that e takes no request because of first: "... of the older
// VirtualService a/b", to be continued.
func because(host string, e, first *entry) string {
	if e.set != first.set {
		return fmt.Sprintf("%s takes no request of host %s, because %s of the older %s", e.field, host, first.field, first.by)
	}
	return fmt.Sprintf("%s takes no request, because %s before it", e.field, first.seenFrom(e.by))
}

func unreachable(at place, message string) model.Problem {
	return model.Problem{
		Object:   at.by,
		Field:    at.field,
		Reason:   model.ReasonUnreachableRule,
		Severity: model.SeverityWarning,
		Message:  message,
	}
}
