// The 3x3 kernels of a call and, as they come, of the next: entries of a column of the window, three vectors each.
module kernel_ring #(
    parameter int LANES = 16,
    parameter int DEPTH = 512
) (
    input  logic                     clk,
    input  logic                     reset,
    input  logic                     in_valid,
    output logic                     in_ready,
    input  logic [63:0]              in_data,
    // Of what came in now, the last word of an entry.
    output logic                     completes,
    // Entries written since the reset, and what the call that computes begins with; modulo twice the depth.
    output logic [$clog2(DEPTH):0]   written,
    input  logic [$clog2(DEPTH):0]   base,
    input  logic [$clog2(DEPTH)-1:0] read_at,
    output logic [3*8*LANES-1:0]     read_data
);
    localparam int BITS = $clog2(DEPTH);
    localparam int WORDS = 3 * LANES / 8;

    logic [7:0] word;
    logic [3*8*LANES-65:0] earlier;

    assign in_ready = (written - base) != (BITS + 1)'(DEPTH);
    assign completes = in_valid && in_ready && word == 8'(WORDS - 1);

    ram #(.WIDTH(3 * 8 * LANES), .DEPTH(DEPTH)) memory (
        .clk, .write(completes), .write_at(written[BITS-1:0]), .write_data({in_data, earlier}),
        .read(1'b1), .read_at, .read_data
    );

    always_ff @(posedge clk) begin
        if (in_valid && in_ready) begin
            word   <= completes ? 8'd0 : word + 8'd1;
            earlier <= (3 * 8 * LANES - 64)'({in_data, earlier} >> 64);
        end
        if (completes) written <= written + 1'b1;
        if (reset) begin
            word    <= '0;
            written <= '0;
        end
    end
endmodule
