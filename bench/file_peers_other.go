//go:build !(linux || darwin || freebsd || netbsd || openbsd || dragonfly)

package main

const blocking = "flock(2)"

// systemPeers is empty where there is no flock(2).
func systemPeers() []filePeer { return nil }
