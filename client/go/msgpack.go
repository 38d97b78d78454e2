package nsbroker

import (
	"encoding/binary"
	"fmt"
	"math"
	"unicode/utf8"
)

// The part of msgpack that the protocol uses, in its one canonical form.
//
// The decoder yields nil, bool, int64, uint64 (only past 2^63-1), float64, string, []byte, []any and *object. It
// refuses every encoding that is not the shortest, so that one value has one encoding.
//
// Source: client/docs/protocol.md, section 2, and https://github.com/msgpack/msgpack/blob/master/spec.md

const (
	maxPacketBytes = 65536
	maxListItems   = 1024
	// A blob's deepest value is a rule: map, grants, grant, limit, connect, rule. A packet's is an address of `also`.
	maxDepth = 8
)

type pair struct {
	key   string
	value any
}

// object is a map with string keys, in the order of the packet.
type object struct {
	pairs []pair
}

func (o *object) get(key string) (any, bool) {
	for _, p := range o.pairs {
		if p.key == key {
			return p.value, true
		}
	}
	return nil, false
}

func appendUint(b []byte, v uint64) []byte {
	switch {
	case v < 0x80:
		return append(b, byte(v))
	case v <= math.MaxUint8:
		return append(b, 0xcc, byte(v))
	case v <= math.MaxUint16:
		return binary.BigEndian.AppendUint16(append(b, 0xcd), uint16(v))
	case v <= math.MaxUint32:
		return binary.BigEndian.AppendUint32(append(b, 0xce), uint32(v))
	}
	return binary.BigEndian.AppendUint64(append(b, 0xcf), v)
}

func appendInt(b []byte, v int64) []byte {
	switch {
	case v >= 0:
		return appendUint(b, uint64(v))
	case v >= -32:
		return append(b, byte(v))
	case v >= math.MinInt8:
		return append(b, 0xd0, byte(v))
	case v >= math.MinInt16:
		return binary.BigEndian.AppendUint16(append(b, 0xd1), uint16(v))
	case v >= math.MinInt32:
		return binary.BigEndian.AppendUint32(append(b, 0xd2), uint32(v))
	}
	return binary.BigEndian.AppendUint64(append(b, 0xd3), uint64(v))
}

func appendFloat(b []byte, v float64) []byte {
	return binary.BigEndian.AppendUint64(append(b, 0xcb), math.Float64bits(v))
}

func appendString(b []byte, s string) []byte {
	switch n := len(s); {
	case n < 32:
		b = append(b, 0xa0|byte(n))
	case n <= math.MaxUint8:
		b = append(b, 0xd9, byte(n))
	case n <= math.MaxUint16:
		b = binary.BigEndian.AppendUint16(append(b, 0xda), uint16(n))
	default:
		b = binary.BigEndian.AppendUint32(append(b, 0xdb), uint32(n))
	}
	return append(b, s...)
}

func appendBytes(b, data []byte) []byte {
	switch n := len(data); {
	case n <= math.MaxUint8:
		b = append(b, 0xc4, byte(n))
	case n <= math.MaxUint16:
		b = binary.BigEndian.AppendUint16(append(b, 0xc5), uint16(n))
	default:
		b = binary.BigEndian.AppendUint32(append(b, 0xc6), uint32(n))
	}
	return append(b, data...)
}

func appendListHeader(b []byte, n int) []byte {
	if n < 16 {
		return append(b, 0x90|byte(n))
	}
	return binary.BigEndian.AppendUint16(append(b, 0xdc), uint16(n))
}

func appendMapHeader(b []byte, n int) []byte {
	return append(b, 0x80|byte(n)) // No map of the protocol has more than 15 keys.
}

// decodePacket decodes a packet of the connection or the channel.
func decodePacket(data []byte) (*object, error) {
	if len(data) > maxPacketBytes {
		return nil, fmt.Errorf("a packet of %d bytes", len(data))
	}
	return decodeMap(data, maxListItems)
}

// decodeBlob decodes a blob, whose lists may have any length.
func decodeBlob(data []byte) (*object, error) {
	return decodeMap(data, math.MaxInt)
}

func decodeMap(data []byte, maxItems int) (*object, error) {
	d := decoder{data: data, maxItems: maxItems}
	value, err := d.value(0)
	if err != nil {
		return nil, err
	}
	if len(d.data) > 0 {
		return nil, fmt.Errorf("%d bytes too many", len(d.data))
	}
	top, ok := value.(*object)
	if !ok {
		return nil, fmt.Errorf("not a map")
	}
	return top, nil
}

type decoder struct {
	data     []byte // The rest.
	maxItems int
}

func (d *decoder) take(n uint64) ([]byte, error) {
	if n > uint64(len(d.data)) {
		return nil, fmt.Errorf("truncated")
	}
	taken := d.data[:n]
	d.data = d.data[n:]
	return taken, nil
}

// number takes a big-endian number of 1, 2, 4 or 8 bytes.
func (d *decoder) number(size uint64) (uint64, error) {
	taken, err := d.take(size)
	var v uint64
	for _, b := range taken {
		v = v<<8 | uint64(b)
	}
	return v, err
}

// length takes a length prefix, which must be the shortest one: at least `least`.
func (d *decoder) length(size, least uint64) (uint64, error) {
	n, err := d.number(size)
	if err == nil && n < least {
		err = fmt.Errorf("a length prefix that is too long")
	}
	return n, err
}

func (d *decoder) value(depth int) (any, error) {
	if depth > maxDepth {
		return nil, fmt.Errorf("nested too deeply")
	}
	head, err := d.take(1)
	if err != nil {
		return nil, err
	}
	switch b := head[0]; {
	case b < 0x80:
		return int64(b), nil
	case b >= 0xe0:
		return int64(int8(b)), nil
	case b < 0x90:
		return d.object(uint64(b&0x0f), depth)
	case b < 0xa0:
		return d.list(uint64(b&0x0f), depth)
	case b < 0xc0:
		return d.text(uint64(b&0x1f), nil)
	case b == 0xc0:
		return nil, nil
	case b == 0xc2, b == 0xc3:
		return b == 0xc3, nil
	case b >= 0xc4 && b <= 0xc6:
		n, err := d.length(1<<(b-0xc4), [...]uint64{0, 1 << 8, 1 << 16}[b-0xc4])
		if err != nil {
			return nil, err
		}
		return d.take(n)
	case b == 0xcb:
		bits, err := d.number(8)
		return math.Float64frombits(bits), err
	case b >= 0xcc && b <= 0xcf:
		return d.unsigned(b)
	case b >= 0xd0 && b <= 0xd3:
		return d.signed(b)
	case b >= 0xd9 && b <= 0xdb:
		return d.text(d.length(1<<(b-0xd9), [...]uint64{32, 1 << 8, 1 << 16}[b-0xd9]))
	case b == 0xdc, b == 0xdd:
		n, err := d.length(2<<(b-0xdc), [...]uint64{16, 1 << 16}[b-0xdc])
		if err != nil {
			return nil, err
		}
		return d.list(n, depth)
	case b == 0xde, b == 0xdf:
		n, err := d.length(2<<(b-0xde), [...]uint64{16, 1 << 16}[b-0xde])
		if err != nil {
			return nil, err
		}
		return d.object(n, depth)
	default:
		return nil, fmt.Errorf("the format %#x", b)
	}
}

func (d *decoder) unsigned(b byte) (any, error) {
	v, err := d.number(1 << (b - 0xcc))
	if err != nil {
		return nil, err
	}
	if v < [...]uint64{0x80, 1 << 8, 1 << 16, 1 << 32}[b-0xcc] {
		return nil, fmt.Errorf("an integer that is not in its shortest format")
	}
	if v > math.MaxInt64 {
		return v, nil
	}
	return int64(v), nil
}

func (d *decoder) signed(b byte) (any, error) {
	size := uint64(1) << (b - 0xd0)
	bits, err := d.number(size)
	if err != nil {
		return nil, err
	}
	v := int64(bits<<(64-8*size)) >> (64 - 8*size)
	if v >= [...]int64{-32, math.MinInt8, math.MinInt16, math.MinInt32}[b-0xd0] {
		return nil, fmt.Errorf("an integer that is not in its shortest format")
	}
	return v, nil
}

func (d *decoder) text(n uint64, err error) (any, error) {
	if err != nil {
		return nil, err
	}
	data, err := d.take(n)
	if err != nil {
		return nil, err
	}
	if !utf8.Valid(data) {
		return nil, fmt.Errorf("text that is not UTF-8")
	}
	return string(data), nil
}

// list takes the items of a list. A list that claims more items than bytes are left is not read.
func (d *decoder) list(n uint64, depth int) (any, error) {
	if n > uint64(d.maxItems) || n > uint64(len(d.data)) {
		return nil, fmt.Errorf("a list that claims %d items", n)
	}
	items := make([]any, 0, min(n, maxListItems))
	for ; n > 0; n-- {
		item, err := d.value(depth + 1)
		if err != nil {
			return nil, err
		}
		items = append(items, item)
	}
	return items, nil
}

// object takes the pairs of a map. Maps of a packet are small. `files` and `engines` of a blob may have any keys.
func (d *decoder) object(n uint64, depth int) (any, error) {
	if n > maxListItems || n > uint64(len(d.data)) {
		return nil, fmt.Errorf("a map that claims %d keys", n)
	}
	made := &object{pairs: make([]pair, 0, n)}
	for ; n > 0; n-- {
		key, err := d.value(depth + 1)
		if err != nil {
			return nil, err
		}
		name, ok := key.(string)
		if !ok {
			return nil, fmt.Errorf("a key that is no text")
		}
		if _, twice := made.get(name); twice {
			return nil, fmt.Errorf("the key %q twice", name)
		}
		value, err := d.value(depth + 1)
		if err != nil {
			return nil, err
		}
		made.pairs = append(made.pairs, pair{name, value})
	}
	return made, nil
}

// min is a builtin from Go 1.21 on.
func min(a, b uint64) uint64 {
	if a < b {
		return a
	}
	return b
}
