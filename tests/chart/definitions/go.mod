// Where definitions of resources come from that the chart makes and others define. Only their files are read.
module dask-operator/definitions

go 1.26

require (
	github.com/cert-manager/cert-manager v1.21.2
	github.com/prometheus-operator/prometheus-operator v0.85.0
)
