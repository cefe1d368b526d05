package addressing

import "strings"

// The limits of RFC 1035, section 2.3.4.
const (
	maxLabelBytes  = 63
	maxDomainBytes = 253
)

// ValidName reports whether a node may have the name: one label of a host name
// in lower case (RFC 1123, section 2.1), as it becomes one in <name>.<domain>.
func ValidName(name string) bool {
	if name == "" || len(name) > maxLabelBytes || name[0] == '-' || name[len(name)-1] == '-' {
		return false
	}
	for i := range len(name) {
		c := name[i]
		if (c < 'a' || c > 'z') && (c < '0' || c > '9') && c != '-' {
			return false
		}
	}
	return true
}

// ValidDomain reports whether the mesh may have the domain: labels with dots
// between them, in lower case, short enough that a name fits before it.
func ValidDomain(domain string) bool {
	if len(domain)+1+maxLabelBytes > maxDomainBytes {
		return false
	}
	for label := range strings.SplitSeq(domain, ".") {
		if !ValidName(label) {
			return false
		}
	}
	return true
}
