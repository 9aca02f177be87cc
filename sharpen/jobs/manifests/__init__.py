"""What a job's pods need, and the manifests of PyTorchJob and TrainJob that say so."""
