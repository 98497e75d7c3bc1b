package lockutils

// ResetFigures forgets all figures and classes, for tests that count them from zero.
func ResetFigures() {
	figuresMu.Lock()
	defer figuresMu.Unlock()
	allFigures.Store(new(map[figuresKey]*figures))
	figureLabels = map[string]bool{otherClass: true}
}
