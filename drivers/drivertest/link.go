package drivertest

import "time"

// A Link is the way between one Service and its server, on which the suite makes trouble. Its
// methods add to each other. All may be called concurrently.
type Link interface {
	// Cut breaks all connections and refuses new ones.
	Cut()
	// Freeze has messages stay on their way. Connections stay open.
	Freeze()
	// DropRequests swallows what the Service sends.
	DropRequests()
	// DropReplies swallows what the server sends, and passes on what the Service sends.
	DropReplies()
	// DropReply swallows the next message of the server, and breaks the connection it came on.
	DropReply()
	// Delay has messages arrive later by that much.
	Delay(requests, replies time.Duration)
	// Mend undoes all that. Connections that have lost something are broken.
	Mend()
}
