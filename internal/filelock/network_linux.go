package filelock

import (
	"sync"

	"golang.org/x/sys/unix"
)

// remoteTypes names the file systems whose locks are kept by a server, or by a program in user
// space. There a wait in the kernel may be long and deaf, or no wake-up may come.
var remoteTypes = map[uint32]string{
	unix.AFS_FS_MAGIC:      "AFS",
	unix.AFS_SUPER_MAGIC:   "AFS",
	unix.CEPH_SUPER_MAGIC:  "Ceph",
	unix.CIFS_SUPER_MAGIC:  "CIFS",
	unix.CODA_SUPER_MAGIC:  "Coda",
	unix.FUSE_SUPER_MAGIC:  "FUSE",
	unix.NCP_SUPER_MAGIC:   "NCP",
	unix.NFS_SUPER_MAGIC:   "NFS",
	unix.OCFS2_SUPER_MAGIC: "OCFS2",
	unix.SMB_SUPER_MAGIC:   "SMB",
	unix.SMB2_SUPER_MAGIC:  "SMB",
	unix.V9FS_MAGIC:        "9P",
	0x01161970:             "GFS2",
	0x0bd00bd0:             "Lustre",
	0x19830326:             "BeeGFS",
	0x20030528:             "OrangeFS",
	0x47504653:             "GPFS",
}

// remoteDevices remembers what is on which device, so that only the first file of each pays for
// the question. A device number may come to mean another file system; the wrong engine is slower
// then, never unsafe.
var remoteDevices struct {
	mu       sync.RWMutex
	byDevice map[uint64]string // "" for a local file system
}

// maxRemoteDevices bounds the memory of hosts that mount and unmount without end.
const maxRemoteDevices = 1024

// remoteType returns the type of the file system of an open file on the device, or "" for a local
// one.
func remoteType(fd int, dev uint64) (string, error) {
	remoteDevices.mu.RLock()
	remote, known := remoteDevices.byDevice[dev]
	remoteDevices.mu.RUnlock()
	if known {
		return remote, nil
	}
	var st unix.Statfs_t
	if err := retry(func() error { return unix.Fstatfs(fd, &st) }); err != nil {
		return "", err
	}
	remote = remoteTypes[uint32(st.Type)]
	remoteDevices.mu.Lock()
	defer remoteDevices.mu.Unlock()
	if remoteDevices.byDevice == nil || len(remoteDevices.byDevice) >= maxRemoteDevices {
		remoteDevices.byDevice = make(map[uint64]string)
	}
	remoteDevices.byDevice[dev] = remote
	return remote, nil
}
