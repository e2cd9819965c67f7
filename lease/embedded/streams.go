package embedded

import (
	"context"

	"google.golang.org/grpc"
)

// endWith makes every stream end when ctx ends. Without it a stop would wait for watches, which
// never end by themselves.
func endWith(ctx context.Context) grpc.ServerOption {
	return grpc.ChainStreamInterceptor(func(srv any, stream grpc.ServerStream, _ *grpc.StreamServerInfo, handler grpc.StreamHandler) error {
		limited, cancel := context.WithCancel(stream.Context())
		defer cancel()
		defer context.AfterFunc(ctx, cancel)()
		return handler(srv, endable{stream, limited})
	})
}

// An endable stream has a context that can end before its client does.
type endable struct {
	grpc.ServerStream
	ctx context.Context
}

func (e endable) Context() context.Context { return e.ctx }
