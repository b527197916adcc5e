// Answers every request with what net/http read in it, as JSON. Prints its port first.
package main

import (
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"path"
	"strings"
)

type reading struct {
	Method string `json:"method"`
	Target string `json:"target"`
	Host   string `json:"host"`
	Body   []byte `json:"body"`
	// Decoded, and as a ServeMux takes it: what it redirects to, or the same.
	Trailers []string `json:"trailers"`
	Path  string   `json:"path"`
	Clean string   `json:"clean"`
	Mux   int      `json:"mux"`
	Query []string `json:"query"`
}

func main() {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		panic(err)
	}
	mux := http.NewServeMux()
	mux.HandleFunc("/", func(w http.ResponseWriter, r *http.Request) { w.WriteHeader(http.StatusOK) })
	handler := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		if err != nil {
			w.Header().Set("Connection", "close")
			w.WriteHeader(http.StatusBadRequest)
			return
		}
		recorder := httptest.NewRecorder()
		mux.ServeHTTP(recorder, r)
		one := reading{
			Method: r.Method, Target: r.RequestURI, Host: r.Host, Body: body,
			Path: r.URL.Path, Clean: path.Clean(r.URL.Path), Mux: recorder.Code, Query: []string{},
		}
		one.Trailers = []string{}
		for name, values := range r.Trailer {
			for _, value := range values {
				one.Trailers = append(one.Trailers, strings.ToLower(name)+": "+value)
			}
		}
		for name, values := range r.URL.Query() {
			for _, value := range values {
				one.Query = append(one.Query, name+"="+value)
			}
		}
		text, _ := json.Marshal(one)
		// In a header, since the answer to HEAD has no body.
		w.Header().Set("X-Reading", base64.StdEncoding.EncodeToString(text))
		w.Header().Set("Content-Length", "0")
	})
	fmt.Println(listener.Addr().(*net.TCPAddr).Port)
	panic((&http.Server{Handler: handler, MaxHeaderBytes: 1 << 16}).Serve(listener))
}
