// A dex with one user, kept in memory: what a Kubeflow of the tests logs in by.
package main

import (
	"context"
	"flag"
	"log"
	"net/http"

	"github.com/dexidp/dex/server"
	"github.com/dexidp/dex/storage"
	"github.com/dexidp/dex/storage/memory"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/sirupsen/logrus"
	"golang.org/x/crypto/bcrypt"
)

func main() {
	listen := flag.String("listen", "", "address and port")
	issuer := flag.String("issuer", "", "URL of the issuer")
	web := flag.String("web", "", "directory of dex's pages")
	user := flag.String("user", "", "e-mail address of the user")
	hash := flag.String("hash", "", "bcrypt hash of the user's password")
	secret := flag.String("secret", "", "secret of the client")
	flag.Parse()
	if _, err := bcrypt.Cost([]byte(*hash)); err != nil {
		log.Fatal(err)
	}
	logger := logrus.New()
	store := storage.WithStaticPasswords(memory.New(logger), []storage.Password{
		{Email: *user, Hash: []byte(*hash), Username: "user", UserID: "1"},
	}, logger)
	store = storage.WithStaticConnectors(store, []storage.Connector{
		{ID: server.LocalConnector, Name: "Email", Type: server.LocalConnector},
	})
	store = storage.WithStaticClients(store, []storage.Client{
		{ID: "kubeflow-oidc-authservice", Secret: *secret, Name: "Kubeflow", RedirectURIs: []string{"/oauth2/callback"}},
	})
	handler, err := server.NewServer(context.Background(), server.Config{
		Issuer: *issuer, Storage: store, SkipApprovalScreen: true, Logger: logger,
		Web: server.WebConfig{Dir: *web}, PrometheusRegistry: prometheus.NewRegistry(),
	})
	if err != nil {
		log.Fatal(err)
	}
	log.Fatal(http.ListenAndServe(*listen, handler))
}
