// Command volumes gives every claim of the default storage class a folder on this machine, and removes it with its volume.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"log"
	"net/http"
	"os"
	"os/signal"
	"path/filepath"
	"syscall"
	"time"

	core "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	meta "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/informers"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/tools/cache"
	"k8s.io/client-go/tools/clientcmd"
)

// What failed once is seen again after this time, which is the only retry.
const resync = 10 * time.Second

const (
	className   = "standard"
	provisioner = "chaperone.dev/test-volumes"
	// Set on the volumes made here, so that no other is ever deleted.
	madeByKey = "pv.kubernetes.io/provisioned-by"
)

type folders struct {
	client kubernetes.Interface
	root   string
}

// provide makes the volume of a claim that waits for one; Kubernetes binds the two.
func (f folders) provide(ctx context.Context, claim *core.PersistentVolumeClaim) error {
	class := claim.Spec.StorageClassName
	if claim.Status.Phase != core.ClaimPending || claim.Spec.VolumeName != "" || class == nil || *class != className {
		return nil
	}
	name := "pvc-" + string(claim.UID)
	path := filepath.Join(f.root, name)
	if err := os.Mkdir(path, 0o777); err != nil && !errors.Is(err, os.ErrExist) {
		return err
	}
	// The kubelet gives a hostPath volume no group, so any user of a pod must be able to write; Mkdir heeds the umask, Chmod does not.
	if err := os.Chmod(path, 0o777); err != nil {
		return err
	}
	kind := core.HostPathDirectory
	_, err := f.client.CoreV1().PersistentVolumes().Create(ctx, &core.PersistentVolume{
		ObjectMeta: meta.ObjectMeta{Name: name, Annotations: map[string]string{madeByKey: provisioner}},
		Spec: core.PersistentVolumeSpec{
			StorageClassName:              className,
			PersistentVolumeReclaimPolicy: core.PersistentVolumeReclaimDelete,
			AccessModes:                   claim.Spec.AccessModes,
			Capacity:                      core.ResourceList{core.ResourceStorage: claim.Spec.Resources.Requests[core.ResourceStorage]},
			ClaimRef:                      &core.ObjectReference{Namespace: claim.Namespace, Name: claim.Name, UID: claim.UID},
			PersistentVolumeSource:        core.PersistentVolumeSource{HostPath: &core.HostPathVolumeSource{Path: path, Type: &kind}},
		},
	}, meta.CreateOptions{})
	if apierrors.IsAlreadyExists(err) {
		return nil
	}
	return err
}

// remove deletes a volume made here whose claim is gone.
func (f folders) remove(ctx context.Context, volume *core.PersistentVolume) error {
	if volume.Annotations[madeByKey] != provisioner || volume.Status.Phase != core.VolumeReleased || volume.Spec.HostPath == nil {
		return nil
	}
	path := filepath.Clean(volume.Spec.HostPath.Path)
	if filepath.Dir(path) != f.root {
		return fmt.Errorf("volume %s is at %s, outside %s", volume.Name, path, f.root)
	}
	if err := os.RemoveAll(path); err != nil {
		return err
	}
	err := f.client.CoreV1().PersistentVolumes().Delete(ctx, volume.Name, meta.DeleteOptions{})
	if apierrors.IsNotFound(err) {
		return nil
	}
	return err
}

// handle calls the right one of the two for an object that is new or has changed.
func (f folders) handle(ctx context.Context, object any) {
	var err error
	switch object := object.(type) {
	case *core.PersistentVolumeClaim:
		err = f.provide(ctx, object)
	case *core.PersistentVolume:
		err = f.remove(ctx, object)
	}
	if err != nil {
		log.Print(err)
	}
}

func run() error {
	kubeconfig := flag.String("kubeconfig", "", "how to reach the cluster")
	root := flag.String("root", "", "the folder that holds the volumes")
	health := flag.String("health", "", "host:port that answers once the claims are watched")
	flag.Parse()
	config, err := clientcmd.BuildConfigFromFlags("", *kubeconfig)
	if err != nil {
		return err
	}
	client, err := kubernetes.NewForConfig(config)
	if err != nil {
		return err
	}
	ctx, cancel := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
	defer cancel()
	volumes := folders{client, filepath.Clean(*root)}
	factory := informers.NewSharedInformerFactory(client, resync)
	handler := cache.ResourceEventHandlerFuncs{
		AddFunc:    func(object any) { volumes.handle(ctx, object) },
		UpdateFunc: func(_, object any) { volumes.handle(ctx, object) },
	}
	for _, informer := range []cache.SharedIndexInformer{
		factory.Core().V1().PersistentVolumeClaims().Informer(),
		factory.Core().V1().PersistentVolumes().Informer(),
	} {
		if _, err := informer.AddEventHandler(handler); err != nil {
			return err
		}
	}
	factory.Start(ctx.Done())
	factory.WaitForCacheSync(ctx.Done())
	server := http.Server{Addr: *health, Handler: http.HandlerFunc(func(http.ResponseWriter, *http.Request) {})}
	go func() {
		<-ctx.Done()
		_ = server.Close()
	}()
	if err := server.ListenAndServe(); !errors.Is(err, http.ErrServerClosed) {
		return err
	}
	return nil
}

func main() {
	if err := run(); err != nil {
		log.Fatal(err)
	}
}
