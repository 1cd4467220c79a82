// Drives the official Go SDK, unmodified, in local evaluation with cohort sync.
// Reads one job as JSON from standard input and writes the variants of every user as JSON; or, if
// the job names a flag, a line for each variant that it takes for one user, until it is killed.
package main

import (
	"encoding/json"
	"fmt"
	"os"
	"time"

	"github.com/amplitude/experiment-go-server/pkg/experiment"
	"github.com/amplitude/experiment-go-server/pkg/experiment/local"
)

type job struct {
	Proxy     string             `json:"proxy"`
	Key       string             `json:"key"`
	APIKey    string             `json:"apiKey"`
	SecretKey string             `json:"secretKey"`
	Streaming bool               `json:"streaming"`
	Users     []*experiment.User `json:"users"`

	Flag          string           `json:"flag"`
	User          *experiment.User `json:"user"`
	PollingMillis int64            `json:"pollingMillis"`
}

func evaluate(job job) ([]map[string]experiment.Variant, error) {
	client := local.Initialize(job.Key, &local.Config{
		ServerUrl:       job.Proxy,
		StreamUpdates:   job.Streaming,
		StreamServerUrl: job.Proxy,
		CohortSyncConfig: &local.CohortSyncConfig{
			ApiKey:          job.APIKey,
			SecretKey:       job.SecretKey,
			CohortServerUrl: job.Proxy,
		},
	})
	if err := client.Start(); err != nil {
		return nil, err
	}
	found := make([]map[string]experiment.Variant, 0, len(job.Users))
	for _, user := range job.Users {
		variants, err := client.EvaluateV2(user, nil)
		if err != nil {
			return nil, err
		}
		found = append(found, variants)
	}
	return found, nil
}

func follow(job job) error {
	client := local.Initialize(job.Key, &local.Config{
		ServerUrl:                job.Proxy,
		StreamUpdates:            true,
		StreamServerUrl:          job.Proxy,
		FlagConfigPollerInterval: time.Duration(job.PollingMillis) * time.Millisecond,
	})
	if err := client.Start(); err != nil {
		return err
	}
	last := ""
	for range time.Tick(20 * time.Millisecond) {
		variants, err := client.EvaluateV2(job.User, nil)
		if err != nil {
			return err
		}
		variant := "none"
		if found, ok := variants[job.Flag]; ok {
			variant = found.Key
		}
		if variant != last {
			fmt.Println(variant)
		}
		last = variant
	}
	return nil
}

func run() error {
	var asked job
	if err := json.NewDecoder(os.Stdin).Decode(&asked); err != nil {
		return err
	}
	if asked.Flag != "" {
		return follow(asked)
	}
	found, err := evaluate(asked)
	if err != nil {
		return err
	}
	return json.NewEncoder(os.Stdout).Encode(found)
}

func main() {
	if err := run(); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}
