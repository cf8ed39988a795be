"""A server with TLS on this machine, with a new certificate."""

import ssl

import trustme
from aiohttp import web


class Server:
    """A server that calls the coroutine function ``handler``, and cancels the call if the client disconnects."""

    def __init__(self, handler):
        self._handler = handler
        #: URL of the server, ``https://127.0.0.1:PORT``; None before the start.
        self.address = None
        #: PEM of the CA certificate; None before the start.
        self.authority = None

    async def start(self):
        """Start listening."""
        authority = trustme.CA()
        self.authority = authority.cert_pem.bytes()
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        authority.issue_cert("127.0.0.1").configure_cert(context)
        self._runner = web.ServerRunner(web.Server(self._handler, handler_cancellation=True, access_log=None),
                                        shutdown_timeout=0.1)
        await self._runner.setup()
        await web.TCPSite(self._runner, "127.0.0.1", 0, ssl_context=context).start()
        self.address = "https://{}:{}".format(*self._runner.addresses[0][:2])

    async def stop(self):
        """Stop listening and close all connections."""
        await self._runner.cleanup()
