package nsbroker

import (
	"fmt"
	"math"
)

// A Listing says which namespaces the program may use.
type Listing struct {
	Grants []Grant
	// Namespaces that exist. "@own" stands for those of the program's own user namespaces, sent as descriptors.
	Namespaces []Usable
	// Engines that did not answer, each with the reason. Their containers are missing in Namespaces.
	Engines map[string]string
}

// Usable is a namespace, and the indexes of the grants that apply there.
type Usable struct {
	Name   string
	Grants []int
}

// A Grant is a rule of the policy, in the words of the policy file.
type Grant struct {
	Name    string
	Sockets []string // For example "tcp" or "raw:icmp".
	Bind    []string
	Options []string
	// The limits of its sockets. nil: no limit. Empty: nowhere.
	LimitConnect, LimitBind []string
}

// An Explanation says whether the policy allows a socket, and a connection from it.
type Explanation struct {
	// Reason says why not. Empty if the socket and the connection are allowed.
	Reason string
	// By is the index of the grant that allows the socket, or -1.
	By int
	// BindsAsRoot is true if the broker binds with its own rights, because the grant lists the address.
	BindsAsRoot bool
	// Exists is false if the namespace does not exist now.
	Exists bool
	// Grants are yours that cover the namespace.
	Grants []Grant
	// Lacks has for each of Grants the rules that it would need.
	Lacks [][]Lack
}

// Allowed reports whether the socket and the connection are allowed.
func (e *Explanation) Allowed() bool { return e.Reason == "" }

// A Lack is a rule that a grant would need, for example {"limit.connect", "10.0.0.1:443"}.
type Lack struct{ Key, Rule string }

// ResolverFiles are the files by which names are looked up in a namespace.
type ResolverFiles struct {
	ResolvConf, Hosts string            // Texts. Empty if there is no file.
	Origin            string            // The path of the resolv.conf, for messages.
	Files             map[string]string // Texts of further files, such as services.
}

func decodeListing(data []byte) (*Listing, error) {
	top, err := decodeBlob(data)
	if err != nil {
		return nil, err
	}
	if err := checkKeys(top, []string{"grants", "namespaces"}, []string{"engines"}); err != nil {
		return nil, err
	}
	made := &Listing{Engines: map[string]string{}}
	value, _ := top.get("grants")
	if made.Grants, err = decodeGrants(value); err != nil {
		return nil, err
	}
	if value, ok := top.get("engines"); ok {
		if made.Engines, err = textMap(value, "engines"); err != nil {
			return nil, err
		}
	}
	value, _ = top.get("namespaces")
	items, err := asList(value, 0, math.MaxInt, "namespaces")
	if err != nil {
		return nil, err
	}
	for _, item := range items {
		usable, err := decodeUsable(item, len(made.Grants))
		if err != nil {
			return nil, err
		}
		made.Namespaces = append(made.Namespaces, usable)
	}
	return made, nil
}

func decodeUsable(item any, grants int) (made Usable, err error) {
	both, err := asList(item, 2, 2, "a namespace")
	if err != nil {
		return made, err
	}
	if made.Name, err = asText(both[0], "a namespace's name"); err != nil {
		return made, err
	}
	indexes, err := asList(both[1], 0, math.MaxInt, "a namespace's grants")
	if err != nil {
		return made, err
	}
	for _, index := range indexes {
		number, err := asInt(index, 0, int64(grants)-1, "a grant")
		if err != nil {
			return made, err
		}
		made.Grants = append(made.Grants, int(number))
	}
	return made, nil
}

func decodeGrants(value any) ([]Grant, error) {
	items, err := asList(value, 0, math.MaxInt, "grants")
	if err != nil {
		return nil, err
	}
	made := make([]Grant, 0, len(items))
	for _, item := range items {
		grant, err := decodeGrant(item)
		if err != nil {
			return nil, err
		}
		made = append(made, grant)
	}
	return made, nil
}

func decodeGrant(item any) (made Grant, err error) {
	o, err := asMap(item, "a grant")
	if err != nil {
		return made, err
	}
	if err = checkKeys(o, []string{"name", "sockets"}, []string{"bind", "options", "limit"}); err != nil {
		return made, err
	}
	for _, p := range o.pairs {
		switch p.key {
		case "name":
			made.Name, err = asText(p.value, "a grant's name")
		case "sockets":
			made.Sockets, err = asTexts(p.value, "a grant's sockets")
		case "bind":
			made.Bind, err = asTexts(p.value, "a grant's bind")
		case "options":
			made.Options, err = asTexts(p.value, "a grant's options")
		case "limit":
			err = decodeLimit(p.value, &made)
		}
		if err != nil {
			return made, err
		}
	}
	return made, nil
}

func decodeLimit(value any, made *Grant) error {
	o, err := asMap(value, "a limit")
	if err != nil {
		return err
	}
	if err := checkKeys(o, nil, []string{"connect", "bind"}); err != nil {
		return err
	}
	for _, p := range o.pairs {
		texts, err := asTexts(p.value, "a limit")
		if err != nil {
			return err
		}
		if p.key == "connect" {
			made.LimitConnect = texts
		} else {
			made.LimitBind = texts
		}
	}
	return nil
}

func decodeExplanation(data []byte) (*Explanation, error) {
	top, err := decodeBlob(data)
	if err != nil {
		return nil, err
	}
	optional := []string{"reason", "by", "binds_as_root", "exists"}
	if err := checkKeys(top, []string{"grants", "lacks"}, optional); err != nil {
		return nil, err
	}
	made := &Explanation{By: -1, Exists: true}
	value, _ := top.get("grants")
	if made.Grants, err = decodeGrants(value); err != nil {
		return nil, err
	}
	_, hasReason := top.get("reason")
	_, hasBy := top.get("by")
	if !hasReason && !hasBy {
		return nil, fmt.Errorf("neither a reason nor a grant")
	}
	for _, p := range top.pairs {
		switch p.key {
		case "reason":
			made.Reason, err = asText(p.value, "reason")
			if err == nil && made.Reason == "" {
				err = fmt.Errorf("an empty reason")
			}
		case "by":
			var index int64
			index, err = asInt(p.value, 0, int64(len(made.Grants))-1, "by")
			made.By = int(index)
		case "binds_as_root":
			made.BindsAsRoot, err = asBool(p.value, "binds_as_root")
		case "exists":
			made.Exists, err = asBool(p.value, "exists")
		case "lacks":
			made.Lacks, err = decodeLacks(p.value, len(made.Grants))
		}
		if err != nil {
			return nil, err
		}
	}
	return made, nil
}

func decodeLacks(value any, grants int) ([][]Lack, error) {
	lists, err := asList(value, grants, grants, "lacks")
	if err != nil {
		return nil, err
	}
	made := make([][]Lack, 0, len(lists))
	for _, list := range lists {
		items, err := asList(list, 0, math.MaxInt, "the lacks of a grant")
		if err != nil {
			return nil, err
		}
		lacks := make([]Lack, 0, len(items))
		for _, item := range items {
			both, err := asTexts(item, "a lack")
			if err != nil {
				return nil, err
			}
			if len(both) != 2 {
				return nil, fmt.Errorf("a lack of %d parts", len(both))
			}
			lacks = append(lacks, Lack{both[0], both[1]})
		}
		made = append(made, lacks)
	}
	return made, nil
}

func asBool(value any, what string) (bool, error) {
	b, ok := value.(bool)
	if !ok {
		return false, fmt.Errorf("%s is no boolean", what)
	}
	return b, nil
}

func decodeResolverFiles(data []byte) (*ResolverFiles, error) {
	top, err := decodeBlob(data)
	if err != nil {
		return nil, err
	}
	if err := checkKeys(top, []string{"resolv_conf", "hosts", "origin"}, []string{"files"}); err != nil {
		return nil, err
	}
	made := &ResolverFiles{Files: map[string]string{}}
	for _, p := range top.pairs {
		switch p.key {
		case "resolv_conf":
			made.ResolvConf, err = asText(p.value, "resolv_conf")
		case "hosts":
			made.Hosts, err = asText(p.value, "hosts")
		case "origin":
			made.Origin, err = asText(p.value, "origin")
		case "files":
			made.Files, err = textMap(p.value, "files")
		}
		if err != nil {
			return nil, err
		}
	}
	return made, nil
}
