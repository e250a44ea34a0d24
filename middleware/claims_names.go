package middleware

import (
	"encoding"
	"encoding/json"
	"fmt"
	"reflect"
	"strings"
)

var (
	unmarshaler     = reflect.TypeFor[json.Unmarshaler]()
	textUnmarshaler = reflect.TypeFor[encoding.TextUnmarshaler]()
)

// exactNames finds members that encoding/json would store in a field of another
// name, because it ignores case. For example, a resource_access with the
// clients portal and PORTAL would fill one field twice. t is the type into
// which text is decoded.
func exactNames(text json.RawMessage, t reflect.Type) error {
	for t != nil && t.Kind() == reflect.Pointer {
		t = t.Elem()
	}
	if t == nil || reflect.PointerTo(t).Implements(unmarshaler) || reflect.PointerTo(t).Implements(textUnmarshaler) {
		return nil // the type decodes itself
	}
	switch t.Kind() {
	case reflect.Struct:
		fields := map[string]reflect.Type{}
		fieldsOf(t, fields, 0)
		return exactFields(text, fields)
	case reflect.Map:
		var members map[string]json.RawMessage
		if json.Unmarshal(text, &members) != nil {
			return nil // Decode reports the error
		}
		for _, m := range members {
			if err := exactNames(m, t.Elem()); err != nil {
				return err
			}
		}
	case reflect.Slice, reflect.Array:
		var elements []json.RawMessage
		if json.Unmarshal(text, &elements) != nil {
			return nil
		}
		for _, e := range elements {
			if err := exactNames(e, t.Elem()); err != nil {
				return err
			}
		}
	}
	return nil
}

func exactFields(text json.RawMessage, fields map[string]reflect.Type) error {
	var members map[string]json.RawMessage
	if json.Unmarshal(text, &members) != nil {
		return nil
	}
	for name, value := range members {
		if t, ok := fields[name]; ok {
			if err := exactNames(value, t); err != nil {
				return err
			}
			continue
		}
		for field := range fields {
			if strings.EqualFold(name, field) {
				return fmt.Errorf("the claim %s differs from the field %s in case only", quoted(name), field)
			}
		}
	}
	return nil
}

// maxEmbedded bounds the search in types that embed themselves.
const maxEmbedded = 8

// fieldsOf collects the names that encoding/json uses for t's fields. Those of
// embedded structs come first, because t's own fields hide them.
func fieldsOf(t reflect.Type, fields map[string]reflect.Type, depth int) {
	var own []reflect.StructField
	for i := range t.NumField() {
		f := t.Field(i)
		tag := f.Tag.Get("json")
		name, _, _ := strings.Cut(tag, ",")
		embedded := f.Type
		if embedded.Kind() == reflect.Pointer {
			embedded = embedded.Elem()
		}
		structure := f.Anonymous && embedded.Kind() == reflect.Struct
		switch {
		case tag == "-":
		case structure && name == "":
			if depth < maxEmbedded {
				fieldsOf(embedded, fields, depth+1)
			}
		case f.IsExported(), structure:
			own = append(own, f)
		}
	}
	for _, f := range own {
		name, _, _ := strings.Cut(f.Tag.Get("json"), ",")
		switch {
		case name == "":
			fields[f.Name] = f.Type
		default:
			fields[name] = f.Type
		}
	}
}
