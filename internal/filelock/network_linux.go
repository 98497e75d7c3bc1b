package filelock

import (
	"sync"

	"golang.org/x/sys/unix"
)

// remoteTypes are the file systems whose locks are kept by a server, or by a program in user space. There a wait in
// the kernel may be long and deaf, or no wake-up may come.
var remoteTypes = map[uint32]bool{
	unix.AFS_FS_MAGIC:      true,
	unix.AFS_SUPER_MAGIC:   true,
	unix.CEPH_SUPER_MAGIC:  true,
	unix.CIFS_SUPER_MAGIC:  true,
	unix.CODA_SUPER_MAGIC:  true,
	unix.FUSE_SUPER_MAGIC:  true,
	unix.NCP_SUPER_MAGIC:   true,
	unix.NFS_SUPER_MAGIC:   true,
	unix.OCFS2_SUPER_MAGIC: true,
	unix.SMB_SUPER_MAGIC:   true,
	unix.SMB2_SUPER_MAGIC:  true,
	unix.V9FS_MAGIC:        true,
	0x01161970:             true, // GFS2
	0x0bd00bd0:             true, // Lustre
	0x19830326:             true, // BeeGFS
	0x20030528:             true, // OrangeFS
	0x47504653:             true, // GPFS
}

// verdicts remembers which devices are remote, so that only the first file of each pays for the question. A device
// number may come to mean another file system; the wrong engine is slower then, never unsafe.
var verdicts struct {
	mu       sync.RWMutex
	byDevice map[uint64]bool
}

// maxVerdicts bounds the memory of hosts that mount and unmount without end.
const maxVerdicts = 1024

func isRemote(fd int, dev uint64) (bool, error) {
	verdicts.mu.RLock()
	remote, known := verdicts.byDevice[dev]
	verdicts.mu.RUnlock()
	if known {
		return remote, nil
	}
	var st unix.Statfs_t
	if err := retry(func() error { return unix.Fstatfs(fd, &st) }); err != nil {
		return false, err
	}
	remote = remoteTypes[uint32(st.Type)]
	verdicts.mu.Lock()
	defer verdicts.mu.Unlock()
	if verdicts.byDevice == nil || len(verdicts.byDevice) >= maxVerdicts {
		verdicts.byDevice = make(map[uint64]bool)
	}
	verdicts.byDevice[dev] = remote
	return remote, nil
}
