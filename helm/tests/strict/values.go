package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"

	"sigs.k8s.io/yaml"
)

// A row of the README's table: | `path` | `default` | meaning |
var row = regexp.MustCompile("(?m)^\\| `([A-Za-z.]+)` \\| `([^`]*)` \\| (.+) \\|$")

// checkValues sees that every value has its row in the README, with the default
// that it has, that no row tells of another, and that the schema knows each and
// lets nothing else in.
func checkValues(chart string) error {
	var values, schema map[string]any
	if err := read(filepath.Join(chart, "values.yaml"), &values); err != nil {
		return err
	}
	if err := read(filepath.Join(chart, "values.schema.json"), &schema); err != nil {
		return err
	}
	readme, err := os.ReadFile(filepath.Join(chart, "README.md"))
	if err != nil {
		return err
	}
	defaults := map[string]string{}
	leaves("", values, defaults)
	told := map[string]string{}
	var wrong []error
	say := func(format string, arguments ...any) { wrong = append(wrong, fmt.Errorf(format, arguments...)) }
	for _, match := range row.FindAllStringSubmatch(string(readme), -1) {
		if _, twice := told[match[1]]; twice {
			say("README.md tells of %s twice", match[1])
		}
		told[match[1]] = match[2]
	}
	for _, path := range slices.Sorted(maps.Keys(defaults)) {
		switch said, has := told[path]; {
		case !has:
			say("README.md does not tell of %s, which is %s", path, defaults[path])
		case said != defaults[path]:
			say("README.md says that %s is %s, and it is %s", path, said, defaults[path])
		}
		if !inSchema(schema, strings.Split(path, ".")) {
			say("values.schema.json does not know %s", path)
		}
	}
	for path := range told {
		if _, has := defaults[path]; !has {
			say("README.md tells of %s, which values.yaml does not have", path)
		}
	}
	for _, open := range openObjects("", schema) {
		say("values.schema.json lets unknown names in at %s", open)
	}
	return errors.Join(wrong...)
}

func read(file string, into any) error {
	text, err := os.ReadFile(file)
	if err != nil {
		return err
	}
	if err := yaml.UnmarshalStrict(text, into); err != nil {
		return fmt.Errorf("%s: %w", filepath.Base(file), err)
	}
	return nil
}

// leaves lists the values that hold no further names, in JSON.
func leaves(path string, value any, found map[string]string) {
	if inner, is := value.(map[string]any); is && len(inner) > 0 && path != "grafanaDashboard.labels" {
		for name, value := range inner {
			leaves(strings.TrimPrefix(path+"."+name, "."), value, found)
		}
		return
	}
	text, err := json.Marshal(value)
	if err != nil {
		panic(err)
	}
	found[path] = string(text)
}

func inSchema(schema map[string]any, path []string) bool {
	if len(path) == 0 {
		return true
	}
	properties, _ := schema["properties"].(map[string]any)
	if properties == nil {
		// Named by a definition, and a map of names that are the user's own.
		return schema["$ref"] != nil
	}
	inner, has := properties[path[0]].(map[string]any)
	return has && inSchema(inner, path[1:])
}

// openObjects lists where the schema has properties and lets others in.
func openObjects(at string, node any) (open []string) {
	switch node := node.(type) {
	case map[string]any:
		if _, has := node["properties"].(map[string]any); has && node["additionalProperties"] != false {
			open = append(open, at+"/")
		}
		for name, inner := range node {
			open = append(open, openObjects(at+"/"+name, inner)...)
		}
	case []any:
		for _, inner := range node {
			open = append(open, openObjects(at, inner)...)
		}
	}
	return open
}
