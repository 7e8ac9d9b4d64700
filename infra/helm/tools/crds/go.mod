// Not built: the place where the versions, and the sums, of the modules that ship the definitions of
// KEDA's and the Prometheus operator's objects are pinned.
module headrace/infra/helm/tools/crds

go 1.26.0

require (
	github.com/kedacore/keda/v2 v2.21.0
	github.com/prometheus-operator/prometheus-operator v0.85.0
)
