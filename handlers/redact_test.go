package handlers_test

import (
	"bytes"
	"encoding/gob"
	"encoding/json"
	"encoding/xml"
	"fmt"
	"log/slog"
	"net/http"
	"reflect"
	"testing"

	"github.com/stretchr/testify/assert"

	"github.com/bearerkit/bearerkit/handlers"
)

const plantedSecret = "planted-secret"

// plant fills v, a struct, with secrets wherever one fits.
func plant(v reflect.Value, depth int) {
	if depth > 4 || !v.CanSet() {
		return
	}
	switch v.Kind() {
	case reflect.String:
		v.SetString(plantedSecret)
	case reflect.Slice:
		if v.Type().Elem().Kind() == reflect.Uint8 {
			v.SetBytes([]byte(plantedSecret))
			return
		}
		v.Set(reflect.MakeSlice(v.Type(), 1, 1))
		plant(v.Index(0), depth+1)
	case reflect.Map:
		v.Set(reflect.MakeMap(v.Type()))
		value := reflect.New(v.Type().Elem()).Elem()
		plant(value, depth+1)
		if v.Type().Key().Kind() == reflect.String {
			v.SetMapIndex(reflect.ValueOf(plantedSecret).Convert(v.Type().Key()), value)
		}
	case reflect.Struct:
		for i := range v.NumField() {
			plant(v.Field(i), depth+1)
		}
	case reflect.Pointer:
		if v.Type() == reflect.TypeFor[*http.Cookie]() {
			v.Set(reflect.New(v.Type().Elem()))
			plant(v.Elem(), depth+1)
		}
	}
}

// Nothing prints a secret: every exported struct of the package that has an
// exported field, in every form that the standard library gives values.
func TestConfigsDoNotPrintThemselves(t *testing.T) {
	for _, typ := range []reflect.Type{reflect.TypeFor[handlers.Config](), reflect.TypeFor[handlers.ProxyConfig]()} {
		v := reflect.New(typ).Elem()
		plant(v, 0)
		held := 0
		for i := range v.NumField() {
			if f := v.Field(i); typ.Field(i).IsExported() && !f.IsZero() {
				held++
			}
		}
		assert.Greater(t, held, 0, "%s: nothing was planted", typ)
		for _, form := range []any{v.Interface(), v.Addr().Interface(), []any{v.Interface()}, map[string]any{"c": v.Interface()}, struct{ C any }{v.Interface()}} {
			var out bytes.Buffer
			for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x", "%X", "%d", "%T %v"} {
				if verb == "%T %v" {
					_, _ = fmt.Fprintf(&out, verb, form, form)
					continue
				}
				_, _ = fmt.Fprintf(&out, verb, form)
			}
			for _, h := range []slog.Handler{slog.NewTextHandler(&out, nil), slog.NewJSONHandler(&out, nil)} {
				slog.New(h).Info("config", "c", form)
			}
			b, _ := json.Marshal(form)
			out.Write(b)
			b, _ = xml.Marshal(form)
			out.Write(b)
			gob.Register(v.Interface())
			_ = gob.NewEncoder(&out).Encode(form)
			text := out.String()
			assert.NotContains(t, text, plantedSecret, "%s as %T", typ, form)
			assert.NotContains(t, text, fmt.Sprintf("%x", plantedSecret), "%s as %T", typ, form)
			assert.Contains(t, text, "(redacted)")
		}
	}
}

// The list of TestConfigsDoNotPrintThemselves is complete.
func TestEveryExportedStructIsLookedAt(t *testing.T) {
	assert.ElementsMatch(t, []string{"Config", "ProxyConfig"}, exportedStructs(t))
}
