module dask.org/operator/tests/cluster/crane

go 1.26.0

tool (
	github.com/google/go-containerregistry/cmd/crane
)

require (
	github.com/google/go-containerregistry v0.22.1
)
