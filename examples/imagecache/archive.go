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

// packFile adds the part of the file that was there when the input was read. A file that has become shorter since is an
// error.
func packFile(archive *tar.Writer, img image, f file) error {
	source, err := os.Open(filepath.Join(img.Dir, f.Name))
	if err != nil {
		return err
	}
	defer source.Close()
	if err := archive.WriteHeader(&tar.Header{Name: f.Name, Mode: 0o644, Size: f.Size, ModTime: f.Modified}); err != nil {
		return err
	}
	_, err = io.CopyN(archive, source, f.Size)
	return err
}
