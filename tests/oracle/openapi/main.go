// openapi holds answers of a server against what its OpenAPI document says of them, with a JSON Schema validator that is not
// ours (github.com/santhosh-tekuri/jsonschema, draft 2020-12, which OpenAPI 3.1 is based on).
//
// Standard input, one JSON object: document (the OpenAPI document), answers (a list of {path, method, status, type, body}: the
// path as the document writes it), questions (a list of {path, method, body}: bodies of requests).
//
// Standard output: a list of sentences, each about something that is not as the document says.
package main

import (
	"encoding/json"
	"fmt"
	"log"
	"os"
	"strings"

	"github.com/santhosh-tekuri/jsonschema/v6"
)

type message struct {
	Path, Method, Type string
	Status             int
	Body               string
}

type operation struct {
	Responses map[string]struct {
		Ref string `json:"$ref"`
	}
}

func main() {
	log.SetFlags(0)
	log.SetPrefix("openapi: ")
	var want struct {
		Document           string
		Answers, Questions []message
	}
	if err := json.NewDecoder(os.Stdin).Decode(&want); err != nil {
		log.Fatal(err)
	}
	document, err := jsonschema.UnmarshalJSON(strings.NewReader(want.Document))
	if err != nil {
		log.Fatal(err)
	}
	var operations struct {
		Paths map[string]map[string]operation
	}
	if err := json.Unmarshal([]byte(want.Document), &operations); err != nil {
		log.Fatal(err)
	}
	compiler := jsonschema.NewCompiler()
	compiler.AssertFormat()
	if err := compiler.AddResource("openapi.json", document); err != nil {
		log.Fatal(err)
	}
	said := []string{}
	check := func(m message, place string) {
		schema, err := compiler.Compile("openapi.json#" + place)
		if err != nil {
			log.Fatalf("%s: %v", place, err)
		}
		body, err := jsonschema.UnmarshalJSON(strings.NewReader(m.Body))
		if err == nil {
			err = schema.Validate(body)
		}
		if err != nil {
			said = append(said, fmt.Sprintf("%s %s %d: %v\n%s", m.Method, m.Path, m.Status, err, m.Body))
		}
	}
	for _, m := range want.Answers {
		found, ok := operations.Paths[m.Path][m.Method]
		response, known := found.Responses[fmt.Sprint(m.Status)]
		if !ok || !known {
			said = append(said, fmt.Sprintf("%s %s %d is not in the document", m.Method, m.Path, m.Status))
			continue
		}
		place := "/paths/" + escape(m.Path) + "/" + m.Method + "/responses/" + fmt.Sprint(m.Status)
		if response.Ref != "" {
			place = strings.TrimPrefix(response.Ref, "#")
		}
		check(m, place+"/content/"+escape(m.Type)+"/schema")
	}
	for _, m := range want.Questions {
		check(m, "/paths/"+escape(m.Path)+"/"+m.Method+"/requestBody/content/application~1json/schema")
	}
	if err := json.NewEncoder(os.Stdout).Encode(said); err != nil {
		log.Fatal(err)
	}
}

// escape makes a member's name part of a JSON pointer in a URL.
func escape(name string) string {
	return strings.NewReplacer("~", "~0", "/", "~1", "{", "%7B", "}", "%7D").Replace(name)
}
