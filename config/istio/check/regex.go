package check

import (
	"regexp/syntax"
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/sluicegw/sluice/config/istio/strict"
	"github.com/sluicegw/sluice/model"
)

const (
	// maxRegexBytes is Istio's limit for the text of a regular expression.
	maxRegexBytes = 1024
	// maxRegexCost bounds the size of the compiled program, in our estimate of
	// RE2's instructions. Istio lets Envoy refuse above 32768; proxies must run
	// with re2.max_program_size.error_level of at least that.
	maxRegexCost = 10_000
)

// ParseRegex returns the syntax tree of a regular expression, or why Envoy
// would refuse it or spend too much on it. It never expands repetitions, so a
// hostile expression costs nothing here.
func ParseRegex(expression string) (*syntax.Regexp, *strict.Finding) {
	if len(expression) > maxRegexBytes {
		return nil, badRegex("the expression has more than %d bytes; shorten it or split the match", maxRegexBytes)
	}
	if !isBytewise(expression) {
		return nil, badRegex("%s holds characters beyond ASCII, but Envoy compares bytes; write them as in the request, for example %%C3%%A9", strict.Quote(expression))
	}
	tree, err := syntax.Parse(expression, syntax.Perl)
	if err != nil {
		return nil, badRegex("%s is no regular expression in RE2 syntax (%s); correct it", strict.Quote(expression), parseError(err))
	}
	if regexCost(tree) > maxRegexCost {
		return nil, badRegex("%s compiles to a program that is too large; use smaller repetitions", strict.Quote(expression))
	}
	return tree, nil
}

// isBytewise reports whether an expression means the same to Envoy, which reads
// it as Latin-1, as to its author: it holds no character beyond ASCII, neither
// itself nor as \x{...} beyond a byte, which Envoy refuses.
func isBytewise(expression string) bool {
	for i := 0; i < len(expression); i++ {
		if expression[i] >= utf8.RuneSelf {
			return false
		}
		if expression[i] != '\\' {
			continue
		}
		i++
		if hex, found := strings.CutPrefix(expression[i:], "x{"); found {
			hex, _, _ = strings.Cut(hex, "}")
			if n, err := strconv.ParseUint(hex, 16, 32); err == nil && n > 0xff {
				return false
			}
		}
	}
	return true
}

// Regex checks a regular expression, see [ParseRegex].
func Regex(expression string) *strict.Finding {
	_, wrong := ParseRegex(expression)
	return wrong
}

func badRegex(format string, args ...any) *strict.Finding {
	f := strict.Invalid(format, args...)
	f.Reason = model.ReasonInvalidRegex
	return f
}

// parseError returns the reason without the expression, which is said already.
func parseError(err error) string {
	if e, ok := err.(*syntax.Error); ok { //nolint:errorlint // syntax.Parse documents this type
		return string(e.Code)
	}
	return err.Error()
}

// regexCost estimates the number of RE2 instructions of an expression, from
// above; it stops counting soon after the limit. RE2 works on bytes, so a range
// of non-ASCII characters costs several.
func regexCost(re *syntax.Regexp) int {
	const perRune = utf8.UTFMax
	cost := 1
	switch re.Op {
	case syntax.OpLiteral:
		cost = len(string(re.Rune))
	case syntax.OpAnyChar, syntax.OpAnyCharNotNL:
		cost = 6
	case syntax.OpCharClass:
		for i := 0; i < len(re.Rune); i += 2 {
			cost++
			if re.Rune[i+1] >= utf8.RuneSelf {
				cost += perRune - 1
			}
		}
	}
	for _, sub := range re.Sub {
		cost = min(cost+regexCost(sub), maxRegexCost+1)
	}
	if re.Op == syntax.OpRepeat {
		times := re.Max
		if times < 0 {
			times = re.Min + 1
		}
		cost *= max(times, 1) // at most 10,001 × 1,000
	}
	return min(cost, maxRegexCost+1)
}

// Substitution checks what replaces the match of an expression: \1 to \9
// name its groups, \0 the whole match, \\ is a backslash.
func Substitution(text string, groups int) *strict.Finding {
	if wrong := HeaderText(text); wrong != nil {
		return wrong
	}
	for i := 0; i < len(text); i++ {
		if text[i] != '\\' {
			continue
		}
		i++
		switch {
		case i < len(text) && text[i] == '\\':
		case i < len(text) && '0' <= text[i] && text[i] <= '9' && int(text[i]-'0') <= groups:
		default:
			return strict.Invalid(`%s refers to a group that the expression does not have; it has %d, write \0 to \%d, or \\ for a backslash`,
				strict.Quote(text), groups, min(groups, 9))
		}
	}
	return nil
}
