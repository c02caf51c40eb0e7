// Strict reads the manifests that the chart renders as an API server would: each
// document into the Kubernetes Go type of its kind, with fields that the type
// lacks and keys that stand twice refused. Then it looks whether what belongs
// together fits together.
//
//	strict manifests FILE...            decode and compare
//	strict settings FILE DIRECTORY      write out the settings file of a render
//	strict values CHART                 values.yaml, its schema and README agree
//	strict metrics NAMES ALERTS TESTS DASHBOARD RUNBOOKS OUT
//	                                    queries name metrics that there are; OUT gets
//	                                    the dashboard's queries as rules for promtool
package main

import (
	"fmt"
	"os"
	"path/filepath"
)

func main() {
	if err := run(os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func run(args []string) error {
	switch {
	case len(args) >= 2 && args[0] == "manifests":
		for _, file := range args[1:] {
			if err := checkManifests(file); err != nil {
				return fmt.Errorf("%s: %w", filepath.Base(file), err)
			}
		}
		return nil
	case len(args) == 3 && args[0] == "settings":
		return writeSettings(args[1], args[2])
	case len(args) == 2 && args[0] == "values":
		return checkValues(args[1])
	case len(args) == 7 && args[0] == "metrics":
		return checkMetrics(args[1], args[2], args[3], args[4], args[5], args[6])
	}
	return fmt.Errorf("usage: strict manifests FILE... | settings FILE DIRECTORY | values CHART | metrics NAMES ALERTS TESTS DASHBOARD RUNBOOKS OUT")
}
