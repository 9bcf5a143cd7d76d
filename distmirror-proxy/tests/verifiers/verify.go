// Shakes hands as Go does. Each line of the input reads `CASE PORT CA HOST`; each of the output `CASE ok` or why not.
package main

import (
	"bufio"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"net"
	"net/http"
	"os"
)

func main() {
	for {
		var name, port, ca, host string
		if _, err := fmt.Scan(&name, &port, &ca, &host); err != nil {
			return
		}
		if err := verify(port, ca, host); err != nil {
			fmt.Println(name, err)
		} else {
			fmt.Println(name, "ok")
		}
	}
}

func verify(port, ca, host string) error {
	pem, err := os.ReadFile(ca)
	if err != nil {
		return err
	}
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(pem)
	stream, err := net.Dial("tcp", "127.0.0.1:"+port)
	if err != nil {
		return err
	}
	defer stream.Close()
	fmt.Fprintf(stream, "CONNECT %[1]s HTTP/1.1\r\nHost: %[1]s\r\n\r\n", net.JoinHostPort(host, "443"))
	answer, err := http.ReadResponse(bufio.NewReader(stream), &http.Request{Method: "CONNECT"})
	if err != nil || answer.StatusCode != 200 {
		return fmt.Errorf("CONNECT: %v %v", answer, err)
	}
	return tls.Client(stream, &tls.Config{RootCAs: roots, ServerName: host}).Handshake()
}
