//go:build gc && !race

#include "textflag.h"

// func storeRelease(p *atomic.Uint64, v uint64)
TEXT ·storeRelease(SB), NOSPLIT, $0-16
	MOVQ p+0(FP), AX
	MOVQ v+8(FP), BX
	MOVQ BX, (AX) // Stores are seen in program order (Intel SDM, volume 3, memory ordering; AMD's manual says the same).
	RET
