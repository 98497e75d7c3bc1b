package etcdlock

import (
	"fmt"
	"net/url"
	"strings"
)

// The keys. A namespace is followed by the first colon of a key, and a name by its first slash after
// that: neither can occur in what stands before, so no prefix of one lock covers a key of another.
//
//	lockutils:image-4711/w694d8a2f-1   an exclusive request for image-4711
//	lockutils:image-4711/r694d8a2f-2   a shared one
//	lockutils:/w694d8a2f-3             a request for the lock with the empty name
//	lockutils!694d8a2f                 the gate of a session

var namespaceEscaper = strings.NewReplacer("%", "%25", ":", "%3A", "!", "%21")

// namePrefix returns what all keys of the lock begin with.
func (s *Service) namePrefix(name string) string {
	return s.keyPrefix() + url.QueryEscape(name) + "/"
}

const (
	writers = "w"
	readers = "r"
)

// key returns the key of a request.
func (n *session) key(prefix, kind string, number int) string {
	return fmt.Sprintf("%s%s%x-%d", prefix, kind, int64(n.id), number)
}

func (n *session) gateKey() string {
	return fmt.Sprintf("%s!%x", namespaceEscaper.Replace(n.service.namespace), int64(n.id))
}
