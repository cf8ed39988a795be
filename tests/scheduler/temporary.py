"""Scheduler with Dask's temporary security. Prints its address, and the variables for a client."""

import asyncio
import json

from distributed import Scheduler, Security


async def main():
    """Runs the scheduler for an hour at most, or until the process is killed."""
    security = Security.temporary()
    arguments = {"protocol": "tls", "host": "127.0.0.1", "port": 0, "dashboard": False}
    async with Scheduler(security=security, **arguments) as scheduler:
        tls = security.get_tls_config_for_role("client")
        prefix = "DASK_DISTRIBUTED__COMM__TLS__"
        variables = {"CA_FILE": tls["ca_file"], "CLIENT__CERT": tls["cert"], "CLIENT__KEY": tls["key"]}
        print(json.dumps([scheduler.address, {prefix + name: value for name, value in variables.items()}]), flush=True)
        await asyncio.sleep(3600)


asyncio.run(main())
