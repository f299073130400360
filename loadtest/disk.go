package loadtest

import (
	"fmt"
	"os"
	"path/filepath"
	"time"
)

// disk is the folder that sluice watches and a folder beside it, on the same
// file system, from which files are renamed into place.
type disk struct{ watched, stage string }

// newDisk makes both below root.
func newDisk(root string) (disk, error) {
	d := disk{filepath.Join(root, "config"), filepath.Join(root, "stage")}
	dirs := []string{d.stage}
	for _, dir := range []string{"hosts", "services", "secrets"} {
		dirs = append(dirs, filepath.Join(d.watched, dir))
	}
	for _, dir := range dirs {
		if err := os.MkdirAll(dir, 0o755); err != nil {
			return d, fmt.Errorf("make the world's folder: %w", err)
		}
	}
	return d, nil
}

// write writes files without renaming, before anybody watches.
func (d disk) write(files []file) error {
	for _, f := range files {
		if err := os.WriteFile(filepath.Join(d.watched, f.path), []byte(f.text), 0o644); err != nil {
			return fmt.Errorf("write the world: %w", err)
		}
	}
	return nil
}

// replace puts a file in place with a rename and returns the instant before it.
func (d disk) replace(f file) (time.Time, error) {
	staged := filepath.Join(d.stage, filepath.Base(f.path))
	if err := os.WriteFile(staged, []byte(f.text), 0o644); err != nil {
		return time.Time{}, fmt.Errorf("stage %s: %w", f.path, err)
	}
	at := time.Now()
	if err := os.Rename(staged, filepath.Join(d.watched, f.path)); err != nil {
		return at, fmt.Errorf("put %s in place: %w", f.path, err)
	}
	return at, nil
}

// remove deletes a file.
func (d disk) remove(f file) error {
	if err := os.Remove(filepath.Join(d.watched, f.path)); err != nil {
		return fmt.Errorf("remove %s: %w", f.path, err)
	}
	return nil
}
