package pemfile

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"syscall"
)

// maxBytes bounds a file.
const maxBytes = 1 << 20

// Load reads a file once, for those that do not follow it.
func Load(path string) File {
	// A pipe without a writer would make Open wait.
	f, err := os.OpenFile(path, os.O_RDONLY|syscall.O_NONBLOCK, 0)
	if err != nil {
		return File{Err: faultOf(err)}
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return File{Err: faultOf(err)}
	}
	if !info.Mode().IsRegular() {
		return File{Err: "it is not a regular file; name a file with PEM text"}
	}
	b, err := io.ReadAll(io.LimitReader(f, maxBytes+1))
	switch {
	case err != nil:
		return File{Err: faultOf(err)}
	case len(b) > maxBytes:
		return File{Err: fmt.Sprintf("it is larger than %d bytes; name a file with PEM text", maxBytes)}
	case len(bytes.TrimSpace(b)) == 0:
		return File{Err: "it is empty; write PEM text to it"}
	case torn(b):
		return File{Err: "it ends inside of a PEM block; write the whole text, best to another file that then takes its place"}
	}
	return File{Bytes: b}
}

// faultOf words an error of the file system without its path, which the reader
// knows.
func faultOf(err error) string {
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return "it does not exist; create it or correct the path"
	case errors.Is(err, fs.ErrPermission):
		return "it may not be read by the user that runs Sluice; allow it"
	}
	var p *fs.PathError
	if errors.As(err, &p) {
		err = p.Err
	}
	return fmt.Sprintf("it cannot be read: %s; correct the path or the file", err)
}

// torn reports whether the last PEM block has begun but not ended, as in a file
// that is being written.
func torn(b []byte) bool {
	begin, end := bytes.LastIndex(b, []byte("-----BEGIN ")), bytes.LastIndex(b, []byte("-----END "))
	if begin < 0 {
		return bytes.HasPrefix([]byte("-----BEGIN "), bytes.TrimSpace(b))
	}
	return end < begin || !bytes.Contains(b[end+len("-----END "):], []byte("-----"))
}
