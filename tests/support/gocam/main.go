// A camera by gortsplib's server, which relays the stream that is published to it.
//
// It prints its port once it accepts connections, and "published" once there is a stream. CAMERA_PASSWORD is the password of
// "viewer"; without it there is no authentication.
package main

import (
	"crypto/rand"
	"encoding/hex"
	"flag"
	"fmt"
	"log"
	"net"
	"os"
	"sync"

	"github.com/bluenviron/gortsplib/v4"
	"github.com/bluenviron/gortsplib/v4/pkg/auth"
	"github.com/bluenviron/gortsplib/v4/pkg/base"
	"github.com/bluenviron/gortsplib/v4/pkg/description"
	"github.com/bluenviron/gortsplib/v4/pkg/format"
	"github.com/bluenviron/gortsplib/v4/pkg/headers"
	"github.com/pion/rtp"
)

const (
	realm = "gocam"
	user  = "viewer"
)

var schemes = map[string][]headers.AuthMethod{
	"basic":  {headers.AuthBasic},
	"digest": {headers.AuthDigestMD5},
	"sha256": {headers.AuthDigestSHA256},
}

// camera is one path: publishing needs no password, reading does.
type camera struct {
	server   *gortsplib.Server
	methods  []headers.AuthMethod
	password string
	nonce    string

	mutex  sync.Mutex
	stream *gortsplib.ServerStream
}

func (c *camera) now() *gortsplib.ServerStream {
	c.mutex.Lock()
	defer c.mutex.Unlock()
	return c.stream
}

// refusal is nil for an authorized request.
func (c *camera) refusal(request *base.Request) *base.Response {
	if c.password == "" {
		return nil
	}
	if auth.Validate(request, user, c.password, nil, c.methods, realm, c.nonce) == nil {
		return nil
	}
	asked := auth.GenerateWWWAuthenticate(c.methods, realm, c.nonce)
	return &base.Response{StatusCode: base.StatusUnauthorized, Header: base.Header{"WWW-Authenticate": asked}}
}

func (c *camera) watched(request *base.Request) (*base.Response, *gortsplib.ServerStream, error) {
	if refused := c.refusal(request); refused != nil {
		return refused, nil, nil
	}
	stream := c.now()
	if stream == nil {
		return &base.Response{StatusCode: base.StatusNotFound}, nil, nil
	}
	return &base.Response{StatusCode: base.StatusOK}, stream, nil
}

// OnDescribe answers readers.
func (c *camera) OnDescribe(ctx *gortsplib.ServerHandlerOnDescribeCtx) (*base.Response, *gortsplib.ServerStream, error) {
	return c.watched(ctx.Request)
}

// OnAnnounce accepts the published stream.
func (c *camera) OnAnnounce(ctx *gortsplib.ServerHandlerOnAnnounceCtx) (*base.Response, error) {
	c.mutex.Lock()
	defer c.mutex.Unlock()
	c.stream = gortsplib.NewServerStream(c.server, ctx.Description)
	return &base.Response{StatusCode: base.StatusOK}, nil
}

// OnSetup serves readers and the publisher.
func (c *camera) OnSetup(ctx *gortsplib.ServerHandlerOnSetupCtx) (*base.Response, *gortsplib.ServerStream, error) {
	if ctx.Session.State() == gortsplib.ServerSessionStatePreRecord {
		return &base.Response{StatusCode: base.StatusOK}, nil, nil
	}
	return c.watched(ctx.Request)
}

// OnPlay starts the stream.
func (c *camera) OnPlay(*gortsplib.ServerHandlerOnPlayCtx) (*base.Response, error) {
	return &base.Response{StatusCode: base.StatusOK}, nil
}

// OnRecord relays packets.
func (c *camera) OnRecord(ctx *gortsplib.ServerHandlerOnRecordCtx) (*base.Response, error) {
	ctx.Session.OnPacketRTPAny(func(media *description.Media, _ format.Format, packet *rtp.Packet) {
		if err := c.now().WritePacketRTP(media, packet); err != nil {
			log.Print(err)
		}
	})
	fmt.Println("published")
	return &base.Response{StatusCode: base.StatusOK}, nil
}

// evenPort finds two consecutive UDP ports, the first one even (RFC 3550, 11).
func evenPort() int {
	for try := 0; try < 200; try++ {
		first, err := net.ListenPacket("udp", "127.0.0.1:0")
		if err != nil {
			log.Fatal(err)
		}
		port := first.LocalAddr().(*net.UDPAddr).Port
		first.Close()
		if port%2 == 0 {
			return port
		}
	}
	log.Fatal("no even port is free")
	return 0
}

func main() {
	scheme := flag.String("scheme", "digest", "basic, digest or sha256")
	flag.Parse()
	nonce := make([]byte, 16)
	if _, err := rand.Read(nonce); err != nil {
		log.Fatal(err)
	}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		log.Fatal(err)
	}
	udp := evenPort()
	c := &camera{methods: schemes[*scheme], password: os.Getenv("CAMERA_PASSWORD"), nonce: hex.EncodeToString(nonce)}
	c.server = &gortsplib.Server{
		Handler:        c,
		RTSPAddress:    "127.0.0.1:0",
		UDPRTPAddress:  fmt.Sprintf("127.0.0.1:%d", udp),
		UDPRTCPAddress: fmt.Sprintf("127.0.0.1:%d", udp+1),
		Listen:         func(string, string) (net.Listener, error) { return listener, nil },
	}
	if err := c.server.Start(); err != nil {
		log.Fatal(err)
	}
	fmt.Println(listener.Addr().(*net.TCPAddr).Port)
	log.Fatal(c.server.Wait())
}
