// Plays the scenes of net/http: usage: nethttp URL TOKEN; prints one JSON object, a result for each scene.
// With a third argument it says whether one request succeeds: nethttp URL "" probe.
package main

import (
	"bufio"
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/cookiejar"
	"net/http/httptrace"
	"net/url"
	"os"
	"sort"
	"strings"
	"sync"
	"time"
)

type headers map[string]string
type result map[string]any

var (
	base, token = os.Args[1], os.Args[2]
	jar, _      = cookiejar.New(nil)
	client      = &http.Client{Jar: jar, Timeout: 20 * time.Second}
	hop         = map[string]bool{"Date": true, "Connection": true, "Keep-Alive": true, "Transfer-Encoding": true}
	text        = strings.Repeat("äöü and a line\n", 50)
	pattern     = makePattern()
)

func makePattern() []byte {
	out := make([]byte, 1024*1024)
	for at := 0; at < len(out); at += 4 {
		binary.LittleEndian.PutUint32(out[at:], uint32(at)*2654435761)
	}
	return out
}

func told(answer *http.Response) result {
	body, err := io.ReadAll(answer.Body)
	answer.Body.Close()
	var pairs [][2]string
	for name, values := range answer.Header {
		for _, value := range values {
			if !hop[name] {
				pairs = append(pairs, [2]string{name, value})
			}
		}
	}
	sort.Slice(pairs, func(a, b int) bool { return pairs[a][0]+pairs[a][1] < pairs[b][0]+pairs[b][1] })
	shown := string(body)
	if len(body) >= 1500 {
		shown = fmt.Sprintf("%d bytes %x", len(body), sha256.Sum256(body))
	}
	out := result{
		"status": answer.StatusCode, "headers": pairs, "body": shown, "length": answer.ContentLength,
		"uncompressed": answer.Uncompressed, "trailers": answer.Trailer,
	}
	if err != nil {
		out["error"] = kind(err)
	}
	return out
}

// kind of an error, and never its words, which name addresses.
func kind(err error) string {
	var failed *url.Error
	switch {
	case errors.As(err, &failed) && failed.Timeout():
		return "timeout"
	case errors.Is(err, io.EOF):
		return "EOF"
	default:
		// A reset, an end too early or a reset stream: whatever the transport, it is no success.
		return "broken off"
	}
}

func ask(method, path string, with headers, body io.Reader) any {
	return askWith(client, context.Background(), method, path, with, body)
}

func askWith(client *http.Client, ctx context.Context, method, path string, with headers, body io.Reader) any {
	request, err := http.NewRequestWithContext(ctx, method, base+path, body)
	if err != nil {
		panic(err)
	}
	for name, value := range with {
		request.Header.Set(name, value)
	}
	answer, err := client.Do(request)
	if err != nil {
		return result{"error": kind(err)}
	}
	return told(answer)
}

func events() any {
	id := fmt.Sprint(time.Now().UnixNano())
	answer, err := client.Get(base + "/events?id=" + id)
	if err != nil {
		return kind(err)
	}
	defer answer.Body.Close()
	lines := bufio.NewScanner(answer.Body)
	var read []string
	for len(read) < 2 && lines.Scan() {
		read = append(read, lines.Text())
	}
	released, err := client.Post(base+"/release?id="+id, "", nil)
	if err != nil {
		return kind(err)
	}
	released.Body.Close()
	for lines.Scan() {
		read = append(read, lines.Text())
	}
	return []any{released.StatusCode, read}
}

func reused() any {
	var found []bool
	trace := &httptrace.ClientTrace{GotConn: func(info httptrace.GotConnInfo) { found = append(found, info.Reused) }}
	ctx := httptrace.WithClientTrace(context.Background(), trace)
	for range 3 {
		askWith(client, ctx, "GET", "/json", nil, nil)
	}
	return found[1:]
}

func parallel() any {
	out := make([]any, 16)
	var group sync.WaitGroup
	for at := range out {
		group.Go(func() { out[at] = ask("GET", fmt.Sprintf("/json?at=%d", at), nil, nil) })
	}
	group.Wait()
	return out
}

// unsized hides the length of what it reads, so that it is sent in chunks.
type unsized struct{ io.Reader }

func main() {
	if len(os.Args) > 3 {
		_, err := client.Get(base + "/json")
		fmt.Printf("{\"go\": %t}\n", err == nil)
		return
	}
	redirects := *client
	redirects.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	impatient := *client
	impatient.Timeout = 300 * time.Millisecond
	expecting := http.DefaultTransport.(*http.Transport).Clone()
	expecting.ExpectContinueTimeout = 20 * time.Second
	patient := *client
	patient.Transport = expecting
	background := context.Background()

	scenes := []struct {
		name string
		play func() any
	}{
		{"get", func() any { return ask("GET", "/json?a=1&b=two%20words&c=%C3%A9&d=a%2Fb", nil, nil) }},
		{"head", func() any { return ask("HEAD", "/json", nil, nil) }},
		{"json", func() any {
			return ask("POST", "/echo", headers{"content-type": "application/json"}, strings.NewReader(`{"a":[1,null]}`))
		}},
		{"text", func() any {
			return ask("PUT", "/echo/path%20with/%C3%A9?x=%C3%BC", headers{"content-type": "text/plain"}, strings.NewReader(text))
		}},
		{"empty", func() any { return ask("POST", "/echo", nil, http.NoBody) }},
		{"patch", func() any { return ask("PATCH", "/echo", nil, strings.NewReader("{}")) }},
		{"delete", func() any { return ask("DELETE", "/echo", nil, nil) }},
		{"options", func() any { return ask("OPTIONS", "/echo", nil, nil) }},
		{"seen", func() any {
			return ask("GET", "/seen", headers{"X-Own": "mine", "Accept-Language": "de, en;q=0.5", "User-Agent": "go"}, nil)
		}},
		{"megabyte-down", func() any { return ask("GET", "/big", nil, nil) }},
		{"megabyte-both", func() any { return ask("POST", "/mirror", nil, bytes.NewReader(pattern)) }},
		{"chunked-up", func() any { return ask("POST", "/echo", nil, unsized{bytes.NewReader(pattern[:200000])}) }},
		{"chunked-down", func() any { return ask("GET", "/chunks", nil, nil) }},
		{"gzip", func() any { return ask("GET", "/gzip", nil, nil) }},
		{"gzip-kept", func() any { return ask("GET", "/gzip", headers{"accept-encoding": "gzip"}, nil) }},
		{"events", events},
		{"redirects", func() any { return ask("GET", "/redirect/3", nil, nil) }},
		{"redirect-kept", func() any { return ask("POST", "/redirect/same", nil, strings.NewReader("kept")) }},
		{"redirect-seen", func() any { return askWith(&redirects, background, "GET", "/redirect/away", nil, nil) }},
		{"no-content", func() any { return ask("GET", "/status/204", nil, nil) }},
		{"not-found", func() any { return ask("GET", "/status/404", nil, nil) }},
		{"too-many", func() any { return ask("GET", "/status/429", nil, nil) }},
		{"server-error", func() any { return ask("GET", "/status/500", nil, nil) }},
		{"unavailable", func() any { return ask("POST", "/status/503", nil, strings.NewReader("x")) }},
		{"etag", func() any { return ask("GET", "/etag", nil, nil) }},
		{"not-modified", func() any { return ask("GET", "/etag", headers{"if-none-match": `"v1-e"`}, nil) }},
		{"range", func() any { return ask("GET", "/range", headers{"range": "bytes=100-299"}, nil) }},
		{"range-beyond", func() any { return ask("GET", "/range", headers{"range": "bytes=99999-"}, nil) }},
		{"trailers", func() any { return ask("GET", "/trailers", nil, nil) }},
		{"continue", func() any {
			return askWith(&patient, background, "POST", "/echo", headers{"expect": "100-continue"}, bytes.NewReader(pattern[:5000]))
		}},
		{"refused-early", func() any {
			return askWith(&patient, background, "POST", "/too-large", headers{"expect": "100-continue"}, bytes.NewReader(pattern[:5000]))
		}},
		{"slow", func() any { return ask("GET", "/slow", nil, nil) }},
		{"gives-up", func() any { return askWith(&impatient, background, "GET", "/never", nil, nil) }},
		{"cut", func() any { return ask("GET", "/cut", nil, nil) }},
		{"after-cut", func() any { return ask("GET", "/json", nil, nil) }},
		{"cookies-set", func() any { return ask("GET", "/cookies/set", nil, nil) }},
		{"cookies", func() any { return ask("GET", "/cookies", nil, nil) }},
		{"large-answer-header", func() any { return ask("GET", "/large", nil, nil) }},
		{"large-request-header", func() any {
			return ask("GET", "/seen", headers{"x-large": strings.Repeat("q", 8000), "User-Agent": "go"}, nil)
		}},
		{"credential", func() any { return ask("GET", "/private", headers{"authorization": "Bearer " + token}, nil) }},
		{"reused", reused},
		{"parallel", parallel},
	}
	results := result{}
	for _, scene := range scenes {
		results[scene.name] = scene.play()
	}
	out, err := json.Marshal(results)
	if err != nil {
		panic(err)
	}
	fmt.Println(string(out))
}
