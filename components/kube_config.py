"""Where the cluster is, and who we are to it: KUBECONFIG, or the pod's ServiceAccount."""

import os
from typing import Any

from serving.errors import InputError


def configuration() -> Any:
    """The official client's Configuration; raises InputError when there is no cluster here."""
    from kubernetes import client, config
    from kubernetes.config.config_exception import ConfigException

    configuration = client.Configuration()
    path = os.environ.get("KUBECONFIG")
    try:
        if path:
            config.load_kube_config(path, client_configuration=configuration)
        else:
            config.load_config(client_configuration=configuration)
    except ConfigException as error:
        raise InputError(
            f"no Kubernetes cluster is configured here ({error}). Run in a pod with a "
            "ServiceAccount, or set KUBECONFIG."
        ) from error
    return configuration
