"""Where bytes lie: URIs, S3, the local disk, complete folders, the download cache."""
