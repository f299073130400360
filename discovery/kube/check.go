package kube

import (
	"fmt"
	"strings"
)

func isPort(n int32) bool { return n >= 1 && n <= 65535 }

func notAPort(n int32) string {
	return fmt.Sprintf("%d is no port; write a number from 1 to 65535", n)
}

// isDNSName reports whether s is a lower-case DNS name without trailing dot.
// Source: RFC 1123 section 2.1, and underscores, which some zones have.
func isDNSName(s string) bool {
	if len(s) > 253 {
		return false
	}
	for label := range strings.SplitSeq(s, ".") {
		if label == "" || len(label) > 63 || label[0] == '-' || label[len(label)-1] == '-' {
			return false
		}
		if strings.Trim(label, "abcdefghijklmnopqrstuvwxyz0123456789-_") != "" {
			return false
		}
	}
	return true
}

// quote returns a value of the user as it appears in a message: in quotes, cut
// to a length that people read.
func quote(s string) string {
	const longest = 80
	if len(s) > longest {
		s = s[:longest] + "…"
	}
	return fmt.Sprintf("%q", s)
}
