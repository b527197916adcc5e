// Command kube is the Kubernetes node and control plane in one static binary: the name it is called by picks the program.
package main

import (
	"context"
	"fmt"
	"os"
	"path/filepath"

	"github.com/spf13/cobra"
	"k8s.io/component-base/cli"
	_ "k8s.io/component-base/logs/json/register"
	_ "k8s.io/component-base/metrics/prometheus/clientgo"
	_ "k8s.io/component-base/metrics/prometheus/version"
	kubectl "k8s.io/kubectl/pkg/cmd"
	apiserver "k8s.io/kubernetes/cmd/kube-apiserver/app"
	controllers "k8s.io/kubernetes/cmd/kube-controller-manager/app"
	proxy "k8s.io/kubernetes/cmd/kube-proxy/app"
	scheduler "k8s.io/kubernetes/cmd/kube-scheduler/app"
	kubelet "k8s.io/kubernetes/cmd/kubelet/app"
)

var programs = map[string]func() *cobra.Command{
	"kube-apiserver":          apiserver.NewAPIServerCommand,
	"kube-controller-manager": controllers.NewControllerManagerCommand,
	"kube-scheduler":          func() *cobra.Command { return scheduler.NewSchedulerCommand() },
	"kube-proxy":              proxy.NewProxyCommand,
	"kubelet":                 func() *cobra.Command { return kubelet.NewKubeletCommand(context.Background()) },
	"kubectl":                 kubectl.NewDefaultKubectlCommand,
}

// choose takes the program from the name of the executable (a link), else from the first argument, which it then removes.
func choose(arguments []string) (func() *cobra.Command, []string) {
	if program, found := programs[filepath.Base(arguments[0])]; found {
		return program, arguments
	}
	if len(arguments) > 1 {
		if program, found := programs[arguments[1]]; found {
			return program, arguments[1:]
		}
	}
	return nil, arguments
}

func main() {
	program, arguments := choose(os.Args)
	if program == nil {
		fmt.Fprintln(os.Stderr, "usage: kube PROGRAM [ARGUMENTS], where PROGRAM is one of:")
		for name := range programs {
			fmt.Fprintln(os.Stderr, "  "+name)
		}
		os.Exit(2)
	}
	os.Args = arguments
	os.Exit(cli.Run(program()))
}
