package nsbroker

import (
	"fmt"
	"math"
	"os"
	"syscall"
	"time"
	"unicode/utf8"
)

// Bounds of requests. Source: client/docs/protocol.md, section 3.
const (
	maxSockets        = 253
	maxWait           = 60 * time.Second
	maxNameBytes      = 1020
	maxSentNamespaces = 16
	maxOptions        = 32
	maxOptionBytes    = 256
	maxFurther        = 15
	maxBacklog        = 65535
)

const protocolSCTP = 132

// A Spec describes one socket, as the arguments of socket(2) and of the calls after it. Constants are those of package
// syscall.
//
// For example, a listener in blue, on port 80 of every IPv4 address:
//
//	nsbroker.Spec{
//		Namespace: "blue", Family: syscall.AF_INET, Type: syscall.SOCK_STREAM,
//		Bind:   nsbroker.IPAddress{Addr: netip.IPv4Unspecified(), Port: 80},
//		Listen: true, Backlog: 128,
//	}
type Spec struct {
	// Namespace is an entry of /run/netns, "@host", or a container such as "podman:web". A path with a slash, such as
	// /proc/4711/ns/net, is opened with the rights of the program.
	Namespace string
	// File is an open network namespace, used instead of Namespace. It stays yours.
	File *os.File

	Family int
	Type   int // SOCK_NONBLOCK may be added. The descriptor is close-on-exec in any case.
	Proto  int

	Options []Option  // The broker sets them first, in this order.
	Bind    Address   // nil: not bound.
	Also    []Address // Further addresses of an SCTP socket, on the port of Bind.
	Listen  bool      // listen(2), last.
	Backlog int       // The backlog of Listen.
}

// An Option is a socket option that the broker sets before it binds. If Bytes is not nil, it is the value, otherwise
// Int is.
type Option struct {
	Level, Name int
	Int         int64 // -2^31 to 2^32-1, passed as an int of C.
	Bytes       []byte
}

// check refuses a spec that the protocol can't express. The broker would answer bad-request.
func (s *Spec) check() error {
	switch {
	case len(s.Namespace) > maxNameBytes || !utf8.ValidString(s.Namespace):
		return fmt.Errorf("a namespace's name is UTF-8 of at most %d bytes", maxNameBytes)
	case !isInt(s.Family):
		return fmt.Errorf("the family %d", s.Family)
	case !isInt(s.Type) || s.Type&^(0xf|syscall.SOCK_NONBLOCK) != 0:
		return fmt.Errorf("the type %d: of the flags only SOCK_NONBLOCK is known", s.Type)
	case !isInt(s.Proto):
		return fmt.Errorf("the protocol %d", s.Proto)
	case len(s.Options) > maxOptions:
		return fmt.Errorf("more than %d options", maxOptions)
	case s.Listen && (s.Backlog < 0 || s.Backlog > maxBacklog):
		return fmt.Errorf("the backlog %d", s.Backlog)
	case s.Listen && s.Family == syscall.AF_UNIX:
		return fmt.Errorf("listen for AF_UNIX: call it yourself, otherwise your peers would see root")
	}
	for _, option := range s.Options {
		if !isInt(option.Level) || !isInt(option.Name) || len(option.Bytes) > maxOptionBytes ||
			option.Int < math.MinInt32 || option.Int > math.MaxUint32 {
			return fmt.Errorf("the option %v", option)
		}
	}
	if s.Bind != nil {
		if err := s.Bind.check(s.Family); err != nil {
			return err
		}
	}
	return s.checkFurther()
}

func (s *Spec) checkFurther() error {
	if len(s.Also) == 0 {
		return nil
	}
	bind, ok := s.Bind.(IPAddress)
	if !ok || s.Proto != protocolSCTP || len(s.Also) > maxFurther {
		return fmt.Errorf("up to %d further addresses are for an SCTP socket with Bind", maxFurther)
	}
	for _, address := range s.Also {
		if further, ok := address.(IPAddress); !ok || further.Port != bind.Port {
			return fmt.Errorf("a further address on another port")
		}
		if err := address.check(s.Family); err != nil {
			return err
		}
	}
	return nil
}

func isInt(v int) bool { return v >= 0 && v <= math.MaxInt32 }

// append encodes a spec. sent is its index among the descriptors of the request, or -1.
func (s *Spec) append(b []byte, sent int) []byte {
	n := 3
	for _, has := range []bool{s.Proto != 0, s.Bind != nil, s.Listen, len(s.Options) > 0, len(s.Also) > 0} {
		if has {
			n++
		}
	}
	b = appendNamespace(appendMapHeader(b, n), s.Namespace, sent)
	b = appendUint(appendString(b, "family"), uint64(s.Family))
	b = appendUint(appendString(b, "type"), uint64(s.Type))
	if s.Proto != 0 {
		b = appendUint(appendString(b, "proto"), uint64(s.Proto))
	}
	if s.Bind != nil {
		b = s.Bind.append(appendString(b, "bind"))
	}
	if s.Listen {
		b = appendUint(appendString(b, "listen"), uint64(s.Backlog))
	}
	if len(s.Options) > 0 {
		b = appendListHeader(appendString(b, "options"), len(s.Options))
		for _, option := range s.Options {
			b = appendInt(appendInt(appendListHeader(b, 3), int64(option.Level)), int64(option.Name))
			if option.Bytes != nil {
				b = appendBytes(b, option.Bytes)
			} else {
				b = appendInt(b, option.Int)
			}
		}
	}
	if len(s.Also) > 0 {
		b = appendListHeader(appendString(b, "also"), len(s.Also))
		for _, address := range s.Also {
			b = address.append(b)
		}
	}
	return b
}

func appendNamespace(b []byte, name string, sent int) []byte {
	b = appendString(b, "ns")
	if sent < 0 {
		return appendString(b, name)
	}
	return appendUint(appendString(appendMapHeader(b, 1), "fd"), uint64(sent))
}

// appendHeader encodes the keys of every request. `further` keys follow.
func appendHeader(id uint64, op string, further int) []byte {
	b := appendMapHeader(make([]byte, 0, 128), 3+further)
	b = appendUint(appendString(b, "v"), 1)
	b = appendUint(appendString(b, "id"), id)
	return appendString(appendString(b, "op"), op)
}

// encodeOpen encodes a request for sockets. sent has for each spec the index of its descriptor, or -1.
func encodeOpen(id uint64, specs []Spec, sent []int, wait time.Duration) []byte {
	further := 1
	if wait > 0 {
		further = 2
	}
	b := appendHeader(id, "open", further)
	b = appendListHeader(appendString(b, "sockets"), len(specs))
	for i := range specs {
		b = specs[i].append(b, sent[i])
	}
	if wait > 0 {
		b = appendString(b, "wait")
		if wait%time.Second == 0 {
			b = appendUint(b, uint64(wait/time.Second))
		} else {
			b = appendFloat(b, wait.Seconds())
		}
	}
	return b
}

func encodeNamespaces(id uint64, engines bool) []byte {
	if !engines {
		return appendHeader(id, "namespaces", 0)
	}
	return append(appendString(appendHeader(id, "namespaces", 1), "engines"), 0xc3)
}

func encodeResolver(id uint64, namespace string, sent int) []byte {
	return appendNamespace(appendHeader(id, "resolver", 1), namespace, sent)
}

func encodeExplain(id uint64, spec *Spec, sent int, connect Address) []byte {
	further := 1
	if connect != nil {
		further = 2
	}
	b := spec.append(appendString(appendHeader(id, "explain", further), "socket"), sent)
	if connect != nil {
		b = connect.append(appendString(b, "connect"))
	}
	return b
}
