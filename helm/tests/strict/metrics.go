package main

import (
	"errors"
	"fmt"
	"os"
	"regexp"
	"slices"
	"strings"

	"sigs.k8s.io/yaml"
)

type rules struct {
	Groups []struct {
		Name     string `json:"name"`
		Interval string `json:"interval,omitempty"`
		Rules    []struct {
			Alert       string            `json:"alert"`
			Expr        string            `json:"expr"`
			For         string            `json:"for,omitempty"`
			Labels      map[string]string `json:"labels"`
			Annotations map[string]string `json:"annotations"`
		} `json:"rules"`
	} `json:"groups"`
}

// What Prometheus itself adds: metrics, and labels.
var (
	scraped = []string{"up"}
	target  = []string{"job", "instance"}
)

var (
	metricRow  = regexp.MustCompile("(?m)^\\| `([a-z_][a-z0-9_]+)` \\|[^|]*\\| ([a-z]+) \\|([^|]*)\\|(.*)$")
	word       = regexp.MustCompile("`([A-Za-z_][A-Za-z0-9_]*)`")
	selected   = regexp.MustCompile(`([a-zA-Z_:][a-zA-Z0-9_:]*)\{([^}]*)\}`)
	matcher    = regexp.MustCompile(`([a-z_]+)\s*(=~|!~|!=|=)\s*"([^"]*)"`)
	plainValue = regexp.MustCompile(`^[a-z_]+(\|[a-z_]+)*$`)
	quoted     = regexp.MustCompile(`"(?:[^"\\]|\\.)*"`)
	selector   = regexp.MustCompile(`\{[^}]*\}`)
	grouping   = regexp.MustCompile(`\b(by|without|on|ignoring|group_left|group_right)\s*\([^)]*\)`)
	window     = regexp.MustCompile(`\[[^\]]*\]`)
	identifier = regexp.MustCompile(`[a-zA-Z_:][a-zA-Z0-9_:]*\s*\(?`)
	variable   = regexp.MustCompile(`\$__rate_interval|\$__interval|\$__range`)
	heading    = regexp.MustCompile(`(?m)^#+ (.+)$`)
	operators  = []string{"and", "or", "unless", "bool", "offset", "by", "without", "on", "ignoring", "group_left", "group_right", "inf", "nan"}
)

// metric is what the page of metrics says of one.
type metric struct {
	labels, values []string
}

// problems says what a selector asks for that the metric never has.
func (m metric) problems(selector string) (problems []string) {
	for _, match := range matcher.FindAllStringSubmatch(selector, -1) {
		label, value := match[1], match[3]
		if slices.Contains(target, label) {
			continue
		}
		if !slices.Contains(m.labels, label) {
			problems = append(problems, "has no label "+label)
			continue
		}
		// Of the labels whose values are listed.
		if strings.HasPrefix(label, "rpc_") || !plainValue.MatchString(value) {
			continue
		}
		for _, alternative := range strings.Split(value, "|") {
			if !slices.Contains(m.values, alternative) {
				problems = append(problems, fmt.Sprintf("is never %s=%q", label, alternative))
			}
		}
	}
	return problems
}

func words(text string) (found []string) {
	for _, match := range word.FindAllStringSubmatch(text, -1) {
		found = append(found, match[1])
	}
	return found
}

// metricsOf lists the metrics that a query reads.
func metricsOf(query string) (names []string) {
	query = quoted.ReplaceAllString(query, `""`)
	for _, aside := range []*regexp.Regexp{selector, grouping, window} {
		query = aside.ReplaceAllString(query, " ")
	}
	for _, word := range identifier.FindAllString(query, -1) {
		if strings.HasSuffix(word, "(") || slices.Contains(operators, strings.ToLower(strings.TrimSpace(word))) {
			continue
		}
		names = append(names, strings.TrimSpace(word))
	}
	return names
}

func checkMetrics(namesFile, alertsFile, testsFile, dashboardFile, runbooksFile, out string) error {
	text, err := os.ReadFile(namesFile)
	if err != nil {
		return err
	}
	known := map[string]metric{}
	for _, name := range scraped {
		known[name] = metric{}
	}
	for _, match := range metricRow.FindAllStringSubmatch(string(text), -1) {
		said := metric{labels: words(match[3]), values: words(match[4])}
		if match[2] != "histogram" {
			known[match[1]] = said
			continue
		}
		// A histogram is read by its parts.
		for _, part := range []string{"_bucket", "_sum", "_count"} {
			known[match[1]+part] = said
		}
	}
	var wrong []error
	say := func(format string, arguments ...any) { wrong = append(wrong, fmt.Errorf(format, arguments...)) }
	check := func(where, query string) {
		names := metricsOf(query)
		if len(names) == 0 {
			say("%s: reads no metric: %s", where, query)
		}
		for _, name := range names {
			if _, is := known[name]; !is {
				say("%s: %s is no metric of %s", where, name, namesFile)
			}
		}
		for _, match := range selected.FindAllStringSubmatch(query, -1) {
			for _, problem := range known[match[1]].problems(match[2]) {
				say("%s: %s %s", where, match[1], problem)
			}
		}
	}

	var alerts rules
	if err := read(alertsFile, &alerts); err != nil {
		return err
	}
	runbooks, err := os.ReadFile(runbooksFile)
	if err != nil {
		return err
	}
	anchors := map[string]bool{}
	for _, match := range heading.FindAllStringSubmatch(string(runbooks), -1) {
		anchors[strings.ToLower(strings.ReplaceAll(match[1], " ", "-"))] = true
	}
	count := 0
	for _, group := range alerts.Groups {
		for _, rule := range group.Rules {
			count++
			check("alert "+rule.Alert, rule.Expr)
			anchor := strings.ToLower(rule.Alert)
			if !anchors[anchor] {
				say("alert %s: %s has no section of that name", rule.Alert, runbooksFile)
			}
			if url := rule.Annotations["runbook_url"]; url != "docs/runbooks.md#"+anchor {
				say("alert %s: its runbook is docs/runbooks.md#%s, not %q", rule.Alert, anchor, url)
			}
			for _, annotation := range []string{"summary", "description"} {
				if rule.Annotations[annotation] == "" {
					say("alert %s has no %s", rule.Alert, annotation)
				}
			}
			if !slices.Contains([]string{"critical", "warning"}, rule.Labels["severity"]) {
				say("alert %s has no severity", rule.Alert)
			}
		}
	}
	if count == 0 {
		say("%s has no alert", alertsFile)
	}
	var tests struct {
		Tests []struct {
			Alerts []struct {
				Name     string `json:"alertname"`
				Expected []any  `json:"exp_alerts"`
			} `json:"alert_rule_test"`
		} `json:"tests"`
	}
	tested, err := os.ReadFile(testsFile)
	if err != nil {
		return err
	}
	if err := yaml.Unmarshal(tested, &tests); err != nil {
		return err
	}
	fires, rests := map[string]bool{}, map[string]bool{}
	for _, test := range tests.Tests {
		for _, alert := range test.Alerts {
			fires[alert.Name] = fires[alert.Name] || len(alert.Expected) > 0
			rests[alert.Name] = rests[alert.Name] || len(alert.Expected) == 0
		}
	}
	for _, group := range alerts.Groups {
		for _, rule := range group.Rules {
			if !fires[rule.Alert] || !rests[rule.Alert] {
				say("alert %s: %s does not see it both fire and rest", rule.Alert, testsFile)
			}
		}
	}

	var dashboard any
	if err := read(dashboardFile, &dashboard); err != nil {
		return err
	}
	queries := expressions(dashboard)
	if len(queries) == 0 {
		say("%s has no query", dashboardFile)
	}
	written := map[string]any{}
	records := []any{}
	for number, query := range queries {
		check("dashboard", query)
		records = append(records, map[string]any{
			"record": fmt.Sprintf("dashboard:query:%d", number),
			"expr":   variable.ReplaceAllString(query, "5m"),
		})
	}
	written["groups"] = []any{map[string]any{"name": "dashboard", "rules": records}}
	rulesText, err := yaml.Marshal(written)
	if err != nil {
		return err
	}
	if err := os.WriteFile(out, rulesText, 0o600); err != nil {
		return err
	}
	if err := errors.Join(wrong...); err != nil {
		return err
	}
	fmt.Printf("%d alerts and %d queries of the dashboard name metrics that there are\n", count, len(queries))
	return nil
}

// expressions lists all queries anywhere in a dashboard.
func expressions(node any) (found []string) {
	switch node := node.(type) {
	case map[string]any:
		if query, is := node["expr"].(string); is {
			found = append(found, query)
		}
		for _, inner := range node {
			found = append(found, expressions(inner)...)
		}
	case []any:
		for _, inner := range node {
			found = append(found, expressions(inner)...)
		}
	}
	return found
}
