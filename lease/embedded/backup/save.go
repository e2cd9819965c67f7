package backup

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"hash"
	"io"
	"os"
	"path/filepath"
	"time"

	"go.etcd.io/etcd/client/pkg/v3/transport"
	clientv3 "go.etcd.io/etcd/client/v3"
	"go.uber.org/zap"
)

// A Source is a running etcd, and how to get in.
type Source struct {
	Endpoints                 []string // URLs; the first one that answers is asked, and no other
	CertFile, KeyFile, CAFile string   // PEM files, for https
	Username, Password        string
	Timeout                   time.Duration // for one endpoint to answer at all; 0: five seconds
}

const defaultTimeout = 5 * time.Second

// ErrExists: the file is there already. It is left as it was.
var ErrExists = errors.New("the file is there already")

// Save writes the contents of the source to file, mode 0600, and returns the endpoint that they came
// from. The file appears whole, after its hash has been checked, or not at all; an existing one is
// kept, with ErrExists, unless replace is set. An error of ctx cuts off a stream that takes too long.
func Save(ctx context.Context, s Source, file string, replace bool) (endpoint string, err error) {
	if _, err := os.Lstat(file); err == nil && !replace {
		return "", fmt.Errorf("saving a snapshot to %s: %w", file, ErrExists)
	}
	client, endpoint, err := s.connect(ctx)
	if err != nil {
		return "", fmt.Errorf("saving a snapshot to %s: %w", file, err)
	}
	defer client.Close()
	part, err := os.CreateTemp(filepath.Dir(file), filepath.Base(file)+".*")
	if err != nil {
		return "", fmt.Errorf("saving a snapshot to %s: %w", file, err)
	}
	defer os.Remove(part.Name()) // gone already after a success
	defer part.Close()
	if err = receive(ctx, client, part); err == nil {
		err = publish(part.Name(), file, replace)
	}
	if err != nil {
		return "", fmt.Errorf("saving a snapshot of %s to %s: %w", endpoint, file, err)
	}
	return endpoint, nil
}

// connect returns a client of the first endpoint that answers; a snapshot is one server's.
func (s Source) connect(ctx context.Context) (*clientv3.Client, string, error) {
	limit := s.Timeout
	if limit == 0 {
		limit = defaultTimeout
	}
	config := clientv3.Config{Username: s.Username, Password: s.Password, DialTimeout: limit, Context: ctx, Logger: zap.NewNop()}
	if s.CertFile+s.KeyFile+s.CAFile != "" {
		info := transport.TLSInfo{CertFile: s.CertFile, KeyFile: s.KeyFile, TrustedCAFile: s.CAFile}
		var err error
		if config.TLS, err = info.ClientConfig(); err != nil {
			return nil, "", fmt.Errorf("reading certificate %q, key %q, authority %q: %w", s.CertFile, s.KeyFile, s.CAFile, err)
		}
	}
	var errs []error
	for _, endpoint := range s.Endpoints {
		config.Endpoints = []string{endpoint}
		client, err := clientv3.New(config)
		if err == nil {
			limited, cancel := context.WithTimeout(ctx, limit)
			_, err = client.Status(limited, endpoint)
			cancel()
			if err == nil {
				return client, endpoint, nil
			}
			_ = client.Close()
		}
		errs = append(errs, fmt.Errorf("asking etcd at %s: %w", endpoint, err))
	}
	errs = append(errs, errors.New("is it running, and are address, certificates and user right?"))
	return nil, "", errors.Join(errs...)
}

// receive copies the stream into the file, and checks it.
func receive(ctx context.Context, client *clientv3.Client, to *os.File) error {
	stream, err := client.Snapshot(ctx)
	if err != nil {
		return err
	}
	defer stream.Close()
	_, err = io.Copy(to, stream)
	if err == nil {
		err = to.Sync()
	}
	if err == nil {
		err = verify(to)
	}
	return errors.Join(err, to.Close())
}

// publish gives the finished file its name.
func publish(part, file string, replace bool) error {
	if replace {
		return errors.Join(os.Rename(part, file), syncFolder(file))
	}
	// A link, unlike a rename, fails where somebody else made the file meanwhile.
	if err := os.Link(part, file); errors.Is(err, os.ErrExist) {
		return ErrExists
	} else if err != nil {
		return err
	}
	return syncFolder(file)
}

func syncFolder(file string) error {
	dir, err := os.Open(filepath.Dir(file))
	if err != nil {
		return err
	}
	return errors.Join(dir.Sync(), dir.Close())
}

// ErrDamaged: the file is no snapshot, or not as it was saved.
var ErrDamaged = errors.New("not a whole snapshot")

// sector is what the database's size is a multiple of; the hash at the end sticks out.
const sector = 512

// verify compares the hash at the end of a snapshot with its contents.
func verify(f *os.File) error {
	info, err := f.Stat()
	if err != nil {
		return err
	}
	size := info.Size() - sha256.Size
	if size <= 0 || size%sector != 0 {
		return fmt.Errorf("%w: %d bytes, which are not a database and its hash: save it again", ErrDamaged, info.Size())
	}
	if _, err := f.Seek(0, io.SeekStart); err != nil {
		return err
	}
	sum := sha256.New()
	if _, err := io.CopyN(sum, f, size); err != nil {
		return err
	}
	return sameSum(sum, f)
}

func sameSum(sum hash.Hash, f io.Reader) error {
	want := make([]byte, sha256.Size)
	if _, err := io.ReadFull(f, want); err != nil {
		return err
	}
	if got := sum.Sum(nil); string(got) != string(want) {
		return fmt.Errorf("%w: its hash is %x, and should be %x: use another copy of it", ErrDamaged, got, want)
	}
	return nil
}
