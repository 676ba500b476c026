// Proxyvec prints which URLs the go command asks through a proxy, for many values of NO_PROXY.
package main

import (
	"encoding/json"
	"fmt"
	"log"
	"net/http"
	"net/url"
	"os"
	"os/exec"
)

type vector struct {
	NoProxy string `json:"no_proxy"`
	URL     string `json:"url"`
	Proxied bool   `json:"proxied"`
}

var noProxies = []string{
	"", "*", "example.com", ".example.com", "*.example.com", "EXAMPLE.com ", "example.com:80", "example.com:443",
	"example.com:8080", "example.com:x", ":80", "corp, ,other.example , example.com", "10.0.0.0/8", "10.1.2.3/16",
	"10.1.2.3", "10.1.2.3:80", "fd00::/8", "fd00::1", "[fd00::1]", "[fd00::1]:80", "ample.com", "example.co",
	"1.2.3", "*.", ".", "com", "münchen.example", "*,example.com",
}

var urls = []string{
	"http://localhost/", "https://localhost:8470/", "http://127.0.0.1/", "https://127.9.8.7:1/", "http://[::1]:8/",
	"http://[::ffff:127.0.0.1]/", "http://0.0.0.0/", "http://sub.localhost/", "http://localhost.example/",
	"http://example.com/", "https://example.com/", "http://example.com:8080/", "https://a.example.com/",
	"https://badexample.com/", "http://10.1.2.3/", "https://10.1.2.3/", "http://10.200.0.1/", "http://11.0.0.1/",
	"http://[fd00::1]/", "http://[fd00::1]:80/", "http://[fe80::1]/", "http://xn--mnchen-3ya.example/",
}

// The library reads the environment once, so that each NO_PROXY has a process of its own.
func main() {
	if len(os.Args) > 1 {
		for _, text := range urls {
			target, err := url.Parse(text)
			if err != nil {
				log.Fatal(err)
			}
			proxy, err := http.ProxyFromEnvironment(&http.Request{URL: target})
			if err != nil {
				log.Fatal(err)
			}
			fmt.Println(proxy != nil)
		}
		return
	}
	self, err := os.Executable()
	if err != nil {
		log.Fatal(err)
	}
	var vectors []vector
	for _, noProxy := range noProxies {
		command := exec.Command(self, "-")
		command.Env = []string{
			"HTTP_PROXY=http://proxy.example:3128", "HTTPS_PROXY=http://proxy.example:3128", "NO_PROXY=" + noProxy,
		}
		command.Stderr = os.Stderr
		output, err := command.StdoutPipe()
		if err != nil {
			log.Fatal(err)
		}
		if err := command.Start(); err != nil {
			log.Fatal(err)
		}
		for _, text := range urls {
			var proxied bool
			if _, err := fmt.Fscanln(output, &proxied); err != nil {
				log.Fatal(err)
			}
			vectors = append(vectors, vector{noProxy, text, proxied})
		}
		if err := command.Wait(); err != nil {
			log.Fatal(err)
		}
	}
	encoder := json.NewEncoder(os.Stdout)
	encoder.SetIndent("", " ")
	if err := encoder.Encode(vectors); err != nil {
		log.Fatal(err)
	}
}
