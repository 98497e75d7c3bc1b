package main

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strconv"
	"sync"
)

// A store keeps images for all hosts. It stands for an object store or a database: all it has to do
// with locks is the fence in put.
type store struct {
	mu     sync.Mutex
	images map[string]*stored
	server *http.Server
	url    string
}

// A stored image has the token of its last write, and counts writes.
type stored struct {
	content           []byte
	token             uint64
	accepted, refused int
}

const tokenHeader = "Fencing-Token"

func startStore() (*store, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	s := &store{images: map[string]*stored{}, url: "http://" + l.Addr().String() + "/"}
	mux := http.NewServeMux()
	mux.HandleFunc("GET /{image}", s.get)
	mux.HandleFunc("PUT /{image}", s.put)
	s.server = &http.Server{Handler: mux}
	go s.server.Serve(l)
	return s, nil
}

func (s *store) close() error { return s.server.Close() }

func (s *store) get(w http.ResponseWriter, r *http.Request) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if image := s.images[r.PathValue("image")]; image != nil && image.accepted > 0 {
		w.Write(image.content)
		return
	}
	http.Error(w, "no such image", http.StatusNotFound)
}

// put stores an image unless a later holder of its lock has stored it before.
func (s *store) put(w http.ResponseWriter, r *http.Request) {
	token, err := strconv.ParseUint(r.Header.Get(tokenHeader), 10, 64)
	content, err2 := io.ReadAll(r.Body)
	if err := errors.Join(err, err2); err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	image := s.images[r.PathValue("image")]
	if image == nil {
		image = &stored{}
		s.images[r.PathValue("image")] = image
	}
	if token < image.token {
		image.refused++
		http.Error(w, fmt.Sprintf("token %d is smaller than %d", token, image.token), http.StatusPreconditionFailed)
		return
	}
	image.content, image.token = content, token
	image.accepted++
}

// errRefused is returned for a write that the fence has refused.
var errRefused = errors.New("refused by the fence")

// has reports whether the store at url has the image.
func has(url, image string) (bool, error) {
	reply, err := http.Get(url + image)
	if err != nil {
		return false, err
	}
	defer reply.Body.Close()
	return reply.StatusCode == http.StatusOK, nil
}

// write stores an image at url.
func write(url, image string, content []byte, token uint64) error {
	r, err := http.NewRequest(http.MethodPut, url+image, bytes.NewReader(content))
	if err != nil {
		return err
	}
	r.Header.Set(tokenHeader, strconv.FormatUint(token, 10))
	reply, err := http.DefaultClient.Do(r)
	if err != nil {
		return err
	}
	defer reply.Body.Close()
	text, _ := io.ReadAll(reply.Body)
	switch reply.StatusCode {
	case http.StatusOK:
		return nil
	case http.StatusPreconditionFailed:
		return fmt.Errorf("%w: %s", errRefused, bytes.TrimSpace(text))
	default:
		return fmt.Errorf("%s: %s", reply.Status, text)
	}
}
