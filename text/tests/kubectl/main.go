// Prints how kubectl reads YAML: each line is an input as a JSON text, a tab, and what kubectl makes of it as JSON, or `error`.
// kubectl reads documents by sigs.k8s.io/yaml; go.mod pins the version of kubectl 1.36.
//
//	go run . > scalars.tsv
package main

import (
	"encoding/json"
	"fmt"
	"os"

	"sigs.k8s.io/yaml"
)

var scalars = []string{
	"n", "N", "y", "Y", "no", "No", "NO", "nO", "yes", "Yes", "YES", "yEs", "on", "On", "ON", "oN", "off", "Off", "OFF", "oFF",
	"true", "True", "TRUE", "tRue", "false", "False", "FALSE", "t", "f", "T", "F", "nn", "yy",
	"", "~", "null", "Null", "NULL", "nUll", "nil", "none", "None", "undefined", "~a",
	"0", "-0", "+0", "00", "1", "+1", "-1", "007", "012", "-012", "+012", "08", "09", "0128", "08.5", "0o12", "0o8", "0O17", "-0o12",
	"0x1F", "0X1f", "0xg", "0x", "-0x1f", "+0x1f", "0x_1f", "0b11", "0B11", "0b2", "-0b11", "+0b11", "0b", "0b_1_1", "0b-11",
	"1_000", "1__0", "_1", "1_", "-_1", "0_7", "1_0.5_0", "._5", ".5_0", "1_000.5",
	"1.0", "12.0", "1.", ".5", "-.5", "+.5", ".", "..", "1..2", "1.2.3", "1e3", "1E3", "1e+3", "1e-3", "1.e3", ".5e2", "1e", "e3", "1e3.5", "-1e3", "1e400", "-1e400", "1e-400", "0e0",
	"123456789012345678", "9007199254740993", "9223372036854775807", "9223372036854775808", "18446744073709551615", "18446744073709551616", "-9223372036854775808", "-9223372036854775809", "+9223372036854775808",
	"1e15", "1e16", "1e20", "1e21", "0.000001", "1e-7", "0.1", "3.14159",
	".inf", ".Inf", ".INF", "+.inf", "-.inf", ".iNF", ".nan", ".NaN", ".NAN", "inf", "nan", "Infinity", "NaN", "+.nan",
	"1:20", "190:20:30", "12:30:45", "1:2:3.5", "2001-12-14", "2001-1-1", "2001-12-14t21:59:43.10-05:00", "2001-12-14T21:59:43Z", "2001-12-14 21:59:43", "2001-99-99", "20011214",
	"=", "<", "<<", ">a", "v1.2", "1.2-rc", "1h", "30s", "5m30s", "1d", "10Gi", "100m", "0.5m", "1k", "50%", "$1", "1,000", "a b", "a#b", "a:b", "http://a/b?c=d", "sha256:00ff", "00ff", "1e10ff", "5e3a", "\\n", "é", "日本", "1 2", "- 1", "+", "-", "--", "++1", "+-1", "-a", "?a", ":a", "a?", "!", "^a", "tidegate.dev/v1alpha1", "v1", "1.10",
	"\"n\"", "'n'", "\"012\"", "'1.0'", "\"\"", "''", "\"~\"", "'true'", "\"1e3\"", "\"2001-12-14\"", "\"a\\tb\"", "'a''b'", "\"\\u00e9\"", "\"\\x41\"",
	"!!str 12", "!!str n", "!!str", "!!str null", "!!int \"12\"", "!!int 0x10", "!!float 1", "!!float \"1.5\"", "!!bool yes", "!!bool \"true\"", "!!null ''", "!!null null", "!!binary aGk=", "!!timestamp 2001-12-14", "! 12", "!!int 1.5", "!!int abc", "!!bool maybe", "!foo bar", "!!map {a: 1}", "!!seq [1]", "!!set {a: null}", "!!omap [a: 1]",
	"[n, 1, ~]", "[a, b,]", "{a: n, b: 012}", "{a}", "{a: }", "[]", "{}", "[1_0, '1_0']", "{\"a\":1}", "[a: 1]",
	"|\n  012", ">\n  n\n  y", "|-\n  true", ">-\n  1\n\n  2", "|+\n  a\n\n", "a\n  b", "1\n  2",
	"@a", "`a", "%a", "&a 1", "*a", "a: b", "[1", "{a: 1", "\"a", "'a", "\"\\q\"", "a\tb", "{<<: {a: 1}, b: 2}", "{<<: [{a: 1}, {a: 2, c: 3}], b: 2}", "{<<: {a: 1}, a: 2}", "{a: 2, <<: {a: 1}}", "{<<: 1}", "{? a : 1}", "{[a]: 1}", "{{a: 1}: 1}", "{~: 1}", "{1: a}", "{012: a}", "{1.5: a}", "{y: a}", "{n: a}", "{yes: a}", "{true: a}", "{null: a}", "{2001-12-14: a}", "{\"1\": a}", "{a: 1, a: 2}", "{1: a, \"1\": b}",
}

func main() {
	for _, scalar := range scalars {
		input, _ := json.Marshal(scalar)
		answer, err := yaml.YAMLToJSON([]byte("v: " + scalar + "\n"))
		shown := "error"
		if err == nil {
			var whole struct{ V json.RawMessage }
			if json.Unmarshal(answer, &whole) != nil {
				fmt.Fprintln(os.Stderr, scalar, string(answer))
			}
			shown = string(whole.V)
		}
		fmt.Printf("%s\t%s\n", input, shown)
	}
}
