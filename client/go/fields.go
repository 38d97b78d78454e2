package nsbroker

import (
	"fmt"
	"math"
)

// Checks the shape of decoded maps. Each function returns an error that names the key.

// checkKeys refuses keys that are not known, and the lack of a required one.
func checkKeys(o *object, required, optional []string) error {
	for _, key := range required {
		if _, ok := o.get(key); !ok {
			return fmt.Errorf("no %s", key)
		}
	}
	for _, p := range o.pairs {
		if !contains(required, p.key) && !contains(optional, p.key) {
			return fmt.Errorf("the unknown key %q", p.key)
		}
	}
	return nil
}

func contains(list []string, wanted string) bool {
	for _, item := range list {
		if item == wanted {
			return true
		}
	}
	return false
}

func asInt(value any, least, most int64, what string) (int64, error) {
	v, ok := value.(int64)
	if !ok || v < least || v > most {
		return 0, fmt.Errorf("%s is not an integer of %d..%d", what, least, most)
	}
	return v, nil
}

func asUint64(value any, least uint64, what string) (uint64, error) {
	var v uint64
	switch number := value.(type) {
	case uint64:
		v = number
	case int64:
		if number < 0 {
			return 0, fmt.Errorf("%s is negative", what)
		}
		v = uint64(number)
	default:
		return 0, fmt.Errorf("%s is no integer", what)
	}
	if v < least {
		return 0, fmt.Errorf("%s is less than %d", what, least)
	}
	return v, nil
}

func asText(value any, what string) (string, error) {
	text, ok := value.(string)
	if !ok {
		return "", fmt.Errorf("%s is no text", what)
	}
	return text, nil
}

func asList(value any, least, most int, what string) ([]any, error) {
	items, ok := value.([]any)
	if !ok || len(items) < least || len(items) > most {
		return nil, fmt.Errorf("%s is not a list of %d..%d items", what, least, most)
	}
	return items, nil
}

func asMap(value any, what string) (*object, error) {
	o, ok := value.(*object)
	if !ok {
		return nil, fmt.Errorf("%s is no map", what)
	}
	return o, nil
}

func asTexts(value any, what string) ([]string, error) {
	items, err := asList(value, 0, math.MaxInt, what)
	if err != nil {
		return nil, err
	}
	texts := make([]string, 0, len(items))
	for _, item := range items {
		text, err := asText(item, what)
		if err != nil {
			return nil, err
		}
		texts = append(texts, text)
	}
	return texts, nil
}

// textMap takes a map from strings to strings.
func textMap(value any, what string) (map[string]string, error) {
	o, err := asMap(value, what)
	if err != nil {
		return nil, err
	}
	made := make(map[string]string, len(o.pairs))
	for _, p := range o.pairs {
		if made[p.key], err = asText(p.value, what); err != nil {
			return nil, err
		}
	}
	return made, nil
}
