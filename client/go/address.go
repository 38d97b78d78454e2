package nsbroker

import (
	"fmt"
	"net/netip"
	"strings"
	"syscall"
)

// An Address is the place to which the broker binds a socket: an [IPAddress], an [AbstractAddress] or a
// [PacketAddress].
type Address interface {
	check(family int) error
	append(b []byte) []byte
}

// IPAddress is an address of AF_INET or AF_INET6. The scope of an IPv6 address is the index of an interface in the
// socket's namespace.
type IPAddress struct {
	Addr     netip.Addr // Without a zone.
	Port     uint16
	FlowInfo uint32 // 0 to 2^20-1. Only for AF_INET6.
	Scope    uint32 // Only for AF_INET6.
}

// AbstractAddress is an abstract name of AF_UNIX, without the leading NUL. If it is empty, the kernel chooses a name.
type AbstractAddress string

// PacketAddress is an address of AF_PACKET. An empty interface means every interface.
type PacketAddress struct {
	Interface string
	Protocol  uint16 // An ETH_P_ number in host order.
}

const (
	maxFlowInfo       = 1<<20 - 1
	maxAbstractBytes  = 107
	maxInterfaceBytes = 15
)

func (a IPAddress) check(family int) error {
	switch {
	case a.Addr.Zone() != "":
		return fmt.Errorf("an address with a zone: use Scope")
	case family == syscall.AF_INET && a.Addr.Is4() && a.FlowInfo == 0 && a.Scope == 0:
	case family == syscall.AF_INET6 && a.Addr.Is6() && a.FlowInfo <= maxFlowInfo:
	default:
		return fmt.Errorf("%v is no address of family %d", a, family)
	}
	return nil
}

func (a IPAddress) append(b []byte) []byte {
	if a.Addr.Is4() {
		return appendUint(appendString(appendListHeader(b, 2), a.Addr.String()), uint64(a.Port))
	}
	b = appendUint(appendString(appendListHeader(b, 4), a.Addr.String()), uint64(a.Port))
	return appendUint(appendUint(b, uint64(a.FlowInfo)), uint64(a.Scope))
}

func (a AbstractAddress) check(family int) error {
	if family != syscall.AF_UNIX || len(a) > maxAbstractBytes {
		return fmt.Errorf("%q is no abstract name of up to %d bytes for family %d", string(a), maxAbstractBytes, family)
	}
	return nil
}

func (a AbstractAddress) append(b []byte) []byte { return appendBytes(b, []byte(a)) }

func (a PacketAddress) check(family int) error {
	if family != syscall.AF_PACKET || len(a.Interface) > maxInterfaceBytes || strings.ContainsAny(a.Interface, "/\x00") {
		return fmt.Errorf("%q is no interface for family %d", a.Interface, family)
	}
	return nil
}

func (a PacketAddress) append(b []byte) []byte {
	return appendUint(appendString(appendListHeader(b, 2), a.Interface), uint64(a.Protocol))
}

// decodeAddress decodes an address of a known family.
func decodeAddress(value any, family int) (Address, error) {
	address, err := decodeAnyAddress(value, family)
	if err != nil {
		return nil, err
	}
	return address, address.check(family)
}

func decodeAnyAddress(value any, family int) (Address, error) {
	switch family {
	case syscall.AF_INET, syscall.AF_INET6:
		return decodeIPAddress(value, family)
	case syscall.AF_UNIX:
		name, ok := value.([]byte)
		if !ok {
			return nil, fmt.Errorf("an abstract name is no bytes")
		}
		return AbstractAddress(name), nil
	case syscall.AF_PACKET:
		items, err := asList(value, 2, 2, "an address")
		if err != nil {
			return nil, err
		}
		name, err := asText(items[0], "an interface")
		if err != nil {
			return nil, err
		}
		protocol, err := asInt(items[1], 0, 65535, "a protocol")
		return PacketAddress{name, uint16(protocol)}, err
	}
	return nil, fmt.Errorf("an address of family %d", family)
}

func decodeIPAddress(value any, family int) (Address, error) {
	length := 2
	if family == syscall.AF_INET6 {
		length = 4
	}
	items, err := asList(value, length, length, "an address")
	if err != nil {
		return nil, err
	}
	host, err := asText(items[0], "a host")
	if err != nil {
		return nil, err
	}
	var made IPAddress
	if made.Addr, err = netip.ParseAddr(host); err != nil {
		return nil, err
	}
	port, err := asInt(items[1], 0, 65535, "a port")
	if err != nil || length == 2 {
		made.Port = uint16(port)
		return made, err
	}
	flowInfo, err := asInt(items[2], 0, maxFlowInfo, "flowinfo")
	if err != nil {
		return nil, err
	}
	scope, err := asInt(items[3], 0, 1<<32-1, "a scope")
	made.Port, made.FlowInfo, made.Scope = uint16(port), uint32(flowInfo), uint32(scope)
	return made, err
}

// guessFamily finds the family of an address by its shape, for replies whose request is not at hand.
func guessFamily(value any) int {
	switch address := value.(type) {
	case []byte:
		return syscall.AF_UNIX
	case []any:
		if len(address) == 4 {
			return syscall.AF_INET6
		}
		if len(address) == 2 {
			if host, ok := address[0].(string); ok {
				if parsed, err := netip.ParseAddr(host); err == nil && parsed.Is4() {
					return syscall.AF_INET
				}
				return syscall.AF_PACKET
			}
		}
	}
	return syscall.AF_UNSPEC
}
