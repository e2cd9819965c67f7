// Package backup saves the contents of an etcd to a file, tells what such a file holds, and makes the
// data folder of a new member from it.
//
//	Save:     a running server ──snapshot stream──▶ FILE.* ──hash checked, synced──▶ FILE
//	Read:     FILE ──hash and pages checked──▶ Status
//	Restore:  FILE ──▶ DIR/.restoring-* ──all well──▶ DIR/member, a DIR for each member
//
// The file is etcd's own: the database as it stands, and the SHA-256 of it at the end. etcdctl and
// etcdutl read and write the same. Nothing here is an etcd server: the folder is for weft/lease/embedded
// or any etcd of its version. All functions are independent of each other and may run concurrently on
// different files.
//
// Sources: go.etcd.io/etcd/etcdutl/v3/snapshot, client/v3 Maintenance.Snapshot, etcd's recovery guide.
package backup
