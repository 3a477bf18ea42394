// Hands each packet of the program to the process it is for (hw/PROGRAM.md).
module dispatch (
    input  logic        clk,
    input  logic        reset,
    input  logic        in_valid,
    output logic        in_ready,
    input  logic [63:0] in_data,
    // This word begins a packet; it goes to nobody.
    output logic        is_head,
    // One bit for each receiver, in the order of the program's numbers.
    output logic [9:0]  out_valid,
    input  logic [9:0]  out_ready,
    output logic [63:0] out_data
);
    logic [3:0]  receiver;
    logic [31:0] left;

    assign out_data = in_data;
    assign is_head = left == '0;

    always_comb begin
        out_valid = '0;
        in_ready  = left == '0;
        for (int index = 0; index < 10; index++) begin
            if (left != '0 && receiver == 4'(index)) begin
                out_valid[index] = in_valid;
                in_ready = out_ready[index];
            end
        end
    end

    always_ff @(posedge clk) begin
        if (in_valid && in_ready) begin
            if (left == '0) begin
                receiver <= in_data[3:0];
                left     <= in_data[63:32];
            end else begin
                left <= left - 32'd1;
            end
        end
        if (reset) left <= '0;
    end
endmodule
