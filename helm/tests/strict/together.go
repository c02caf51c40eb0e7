package main

import (
	"errors"
	"fmt"

	appsv1 "k8s.io/api/apps/v1"
	autoscalingv2 "k8s.io/api/autoscaling/v2"
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	policyv1 "k8s.io/api/policy/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/util/validation"
	podsecurity "k8s.io/pod-security-admission/api"
	"k8s.io/pod-security-admission/policy"
)

// together says what does not fit in what was rendered at once.
func together(objects []metav1.Object) error {
	var wrong []error
	say := func(object metav1.Object, format string, arguments ...any) {
		wrong = append(wrong, fmt.Errorf("%T %s: %s", object, object.GetName(), fmt.Sprintf(format, arguments...)))
	}
	seen := map[string]bool{}
	var server *appsv1.Deployment
	pods := map[metav1.Object]podOf{}
	for _, object := range objects {
		id := fmt.Sprintf("%T/%s", object, object.GetName())
		if seen[id] {
			say(object, "is there twice")
		}
		seen[id] = true
		if problems := validation.IsDNS1035Label(object.GetName()); len(problems) > 0 {
			say(object, "has a bad name: %v", problems)
		}
		for key, value := range object.GetLabels() {
			if problems := append(validation.IsQualifiedName(key), validation.IsValidLabelValue(value)...); len(problems) > 0 {
				say(object, "has a bad label %s=%s: %v", key, value, problems)
			}
		}
		switch object := object.(type) {
		case *appsv1.Deployment:
			server = object
			pods[object] = podOf{object.Spec.Template.ObjectMeta, object.Spec.Template.Spec}
		case *batchv1.Job:
			pods[object] = podOf{object.Spec.Template.ObjectMeta, object.Spec.Template.Spec}
		case *corev1.Pod:
			pods[object] = podOf{object.ObjectMeta, object.Spec}
		}
	}
	if server == nil {
		return errors.New("no Deployment was rendered")
	}
	for object, pod := range pods {
		for _, problem := range pod.problems() {
			say(object, "%s", problem)
		}
	}
	serverLabels := labels.Set(server.Spec.Template.Labels)
	finds := func(object metav1.Object, selector *metav1.LabelSelector) {
		parsed, err := metav1.LabelSelectorAsSelector(selector)
		if err != nil {
			say(object, "%v", err)
			return
		}
		if !parsed.Matches(serverLabels) {
			say(object, "does not find the server's pods")
		}
		for other, pod := range pods {
			if other != metav1.Object(server) && parsed.Matches(labels.Set(pod.meta.Labels)) {
				say(object, "finds the pods of %T %s", other, other.GetName())
			}
		}
	}
	ports := map[string]bool{}
	for _, port := range server.Spec.Template.Spec.Containers[0].Ports {
		ports[port.Name] = true
	}
	for _, object := range objects {
		switch object := object.(type) {
		case *appsv1.Deployment:
			finds(object, object.Spec.Selector)
			for _, problem := range endsInTime(object) {
				say(object, "%s", problem)
			}
		case *corev1.Service:
			finds(object, &metav1.LabelSelector{MatchLabels: object.Spec.Selector})
			for _, port := range object.Spec.Ports {
				if !ports[port.TargetPort.StrVal] {
					say(object, "leads to the port %q, which no container has", port.TargetPort.StrVal)
				}
			}
		case *policyv1.PodDisruptionBudget:
			finds(object, object.Spec.Selector)
		case *networkingv1.NetworkPolicy:
			finds(object, &object.Spec.PodSelector)
		case *autoscalingv2.HorizontalPodAutoscaler:
			if object.Spec.ScaleTargetRef.Name != server.Name {
				say(object, "scales %s", object.Spec.ScaleTargetRef.Name)
			}
			if server.Spec.Replicas != nil {
				say(server, "sets replicas, which the autoscaler does too")
			}
		}
	}
	return errors.Join(wrong...)
}

type podOf struct {
	meta metav1.ObjectMeta
	spec corev1.PodSpec
}

// problems holds a pod against the restricted standard, and its mounts against
// its volumes.
func (pod podOf) problems() (problems []string) {
	evaluator, err := policy.NewEvaluator(policy.DefaultChecks(), nil)
	if err != nil {
		return []string{err.Error()}
	}
	restricted := podsecurity.LevelVersion{Level: podsecurity.LevelRestricted, Version: podsecurity.LatestVersion()}
	for _, result := range evaluator.EvaluatePod(restricted, &pod.meta, &pod.spec) {
		if !result.Allowed {
			problems = append(problems, "is not restricted: "+result.ForbiddenReason+": "+result.ForbiddenDetail)
		}
	}
	if pod.spec.AutomountServiceAccountToken == nil || *pod.spec.AutomountServiceAccountToken {
		problems = append(problems, "is given a token of the API server")
	}
	volumes := map[string]bool{}
	for _, volume := range pod.spec.Volumes {
		if volumes[volume.Name] {
			problems = append(problems, "has the volume "+volume.Name+" twice")
		}
		volumes[volume.Name] = true
	}
	used := map[string]bool{}
	for _, container := range pod.spec.Containers {
		if security := container.SecurityContext; security == nil || security.ReadOnlyRootFilesystem == nil || !*security.ReadOnlyRootFilesystem {
			problems = append(problems, "can write to its root file system")
		}
		for _, mount := range container.VolumeMounts {
			used[mount.Name] = true
			if !volumes[mount.Name] {
				problems = append(problems, "mounts "+mount.Name+", which is no volume of it")
			}
			if mount.SubPath != "" {
				problems = append(problems, "mounts a single file, which does not follow its Secret: "+mount.MountPath)
			}
		}
		for _, variable := range container.Env {
			if variable.Name == "TOKEN_AUTHORITY__DATABASE__URL" && variable.ValueFrom == nil {
				problems = append(problems, "has the database's URL in the clear")
			}
		}
	}
	for volume := range volumes {
		if !used[volume] {
			problems = append(problems, "never mounts its volume "+volume)
		}
	}
	return problems
}

// The server ends within so many seconds of the signal, which comes after the
// sleep (docs/decisions/0037-ending.md).
const shutdownGrace = 50

func endsInTime(server *appsv1.Deployment) (problems []string) {
	pod := server.Spec.Template.Spec
	var sleep int64
	if lifecycle := pod.Containers[0].Lifecycle; lifecycle != nil && lifecycle.PreStop != nil && lifecycle.PreStop.Sleep != nil {
		sleep = lifecycle.PreStop.Sleep.Seconds
	}
	if pod.TerminationGracePeriodSeconds == nil || *pod.TerminationGracePeriodSeconds < sleep+shutdownGrace {
		problems = append(problems, "is killed before it could finish")
	}
	embedded := false
	for _, volume := range pod.Volumes {
		embedded = embedded || volume.PersistentVolumeClaim != nil
	}
	if embedded && server.Spec.Strategy.Type != appsv1.RecreateDeploymentStrategyType {
		problems = append(problems, "has two pods on one embedded database while it rolls")
	}
	if embedded && server.Spec.Replicas != nil && *server.Spec.Replicas > 1 {
		problems = append(problems, "has more than one replica of an embedded database")
	}
	if rolling := server.Spec.Strategy.RollingUpdate; rolling != nil && rolling.MaxUnavailable.IntValue() != 0 {
		problems = append(problems, "takes a pod away before its successor is there")
	}
	return problems
}
