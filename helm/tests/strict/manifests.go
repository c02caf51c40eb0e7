package main

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"regexp"

	monitoringv1 "github.com/prometheus-operator/prometheus-operator/pkg/apis/monitoring/v1"
	appsv1 "k8s.io/api/apps/v1"
	autoscalingv2 "k8s.io/api/autoscaling/v2"
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	policyv1 "k8s.io/api/policy/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/yaml"
)

var kinds = map[string]func() metav1.Object{
	"v1/ConfigMap":                            func() metav1.Object { return new(corev1.ConfigMap) },
	"v1/PersistentVolumeClaim":                func() metav1.Object { return new(corev1.PersistentVolumeClaim) },
	"v1/Pod":                                  func() metav1.Object { return new(corev1.Pod) },
	"v1/Service":                              func() metav1.Object { return new(corev1.Service) },
	"v1/ServiceAccount":                       func() metav1.Object { return new(corev1.ServiceAccount) },
	"apps/v1/Deployment":                      func() metav1.Object { return new(appsv1.Deployment) },
	"batch/v1/Job":                            func() metav1.Object { return new(batchv1.Job) },
	"policy/v1/PodDisruptionBudget":           func() metav1.Object { return new(policyv1.PodDisruptionBudget) },
	"autoscaling/v2/HorizontalPodAutoscaler":  func() metav1.Object { return new(autoscalingv2.HorizontalPodAutoscaler) },
	"networking.k8s.io/v1/NetworkPolicy":      func() metav1.Object { return new(networkingv1.NetworkPolicy) },
	"monitoring.coreos.com/v1/ServiceMonitor": func() metav1.Object { return new(monitoringv1.ServiceMonitor) },
	"monitoring.coreos.com/v1/PrometheusRule": func() metav1.Object { return new(monitoringv1.PrometheusRule) },
}

var separator = regexp.MustCompile(`(?m)^---\s*$`)

// decode reads all documents of a file.
func decode(file string) ([]metav1.Object, error) {
	text, err := os.ReadFile(file)
	if err != nil {
		return nil, err
	}
	var objects []metav1.Object
	for number, document := range separator.Split(string(text), -1) {
		var kind metav1.TypeMeta
		if err := yaml.Unmarshal([]byte(document), &kind); err != nil {
			return nil, fmt.Errorf("document %d: %w", number, err)
		}
		if kind.Kind == "" {
			if len(bytes.TrimSpace([]byte(document))) > 0 && !onlyComments(document) {
				return nil, fmt.Errorf("document %d has no kind", number)
			}
			continue
		}
		make, known := kinds[kind.APIVersion+"/"+kind.Kind]
		if !known {
			return nil, fmt.Errorf("document %d: nothing here knows %s %s", number, kind.APIVersion, kind.Kind)
		}
		object := make()
		if err := yaml.UnmarshalStrict([]byte(document), object); err != nil {
			return nil, fmt.Errorf("%s %d: %w", kind.Kind, number, err)
		}
		objects = append(objects, object)
	}
	if len(objects) == 0 {
		return nil, errors.New("nothing was rendered")
	}
	return objects, nil
}

func onlyComments(document string) bool {
	var content any
	return yaml.Unmarshal([]byte(document), &content) == nil && content == nil
}

func checkManifests(file string) error {
	objects, err := decode(file)
	if err != nil {
		return err
	}
	return together(objects)
}

// writeSettings writes the files of the server's ConfigMap to a directory.
func writeSettings(file, directory string) error {
	objects, err := decode(file)
	if err != nil {
		return err
	}
	for _, object := range objects {
		configMap, is := object.(*corev1.ConfigMap)
		if !is {
			continue
		}
		if text, has := configMap.Data["settings.toml"]; has {
			return os.WriteFile(filepath.Join(directory, "settings.toml"), []byte(text), 0o600)
		}
	}
	return errors.New("no ConfigMap holds a settings.toml")
}
