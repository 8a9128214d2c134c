"""Deploys prices.py to the server in $MINISTACK, as the command line of AWS would to AWS."""

import base64
import io
import json
import os
import urllib.request
import zipfile

package = io.BytesIO()
with zipfile.ZipFile(package, "w") as archive:
    archive.write("prices.py")
function = {
    "FunctionName": "prices", "Runtime": "python3.13", "Handler": "prices.handle", "Timeout": 10,
    "Role": "arn:aws:iam::000000000000:role/prices", "Code": {"ZipFile": base64.b64encode(package.getvalue()).decode()},
}
request = urllib.request.Request(
    os.environ["MINISTACK"] + "/2015-03-31/functions",
    json.dumps(function).encode(),
    # this server does not look at the signature, but at whose it is and for what
    {"content-type": "application/json", "authorization": "AWS4-HMAC-SHA256 Credential=test/20260101/us-east-1/lambda/aws4_request"},
)
urllib.request.urlopen(request).read()
