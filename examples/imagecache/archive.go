package main

import (
	"archive/tar"
	"compress/gzip"
	"io"
	"os"
	"path/filepath"
)

// pack writes the image's archive, a gzipped tar file. Equal input gives equal bytes.
func pack(w io.Writer, img image) error {
	zipped := gzip.NewWriter(w)
	archive := tar.NewWriter(zipped)
	for _, f := range img.Files {
		if err := packFile(archive, img, f); err != nil {
			return err
		}
	}
	if err := archive.Close(); err != nil {
		return err
	}
	return zipped.Close()
}

// packFile adds the part of the file that existed when the input was read. It fails if the file
// has become shorter.
func packFile(archive *tar.Writer, img image, f file) error {
	source, err := os.Open(filepath.Join(img.Dir, f.Name))
	if err != nil {
		return err
	}
	defer source.Close()
	header := &tar.Header{Name: f.Name, Mode: 0o644, Size: f.Size, ModTime: f.Modified}
	if err := archive.WriteHeader(header); err != nil {
		return err
	}
	_, err = io.CopyN(archive, source, f.Size)
	return err
}
